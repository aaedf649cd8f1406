"""The literal types that the whole package shares. Imports nothing heavy."""

from __future__ import annotations

from typing import Literal

#: Which side of retrieval a text is on: the two are cut at different lengths and may be marked differently.
Side = Literal["doc", "query"]

#: What turns token states into activations: ``"sae"``, the latents of a sparse autoencoder; ``"mlm"``, word pieces.
Head = Literal["sae", "mlm"]

#: What an index multiplies the weights of queries by.
Weighting = Literal["idf", "none"]

#: The number format to compute in; ``"auto"`` is bfloat16 where the device is fast at it, else float32.
Precision = Literal["auto", "float32", "bfloat16"]
