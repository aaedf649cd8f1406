"""Literal types shared by the whole package. This module imports nothing heavy."""

from __future__ import annotations

from typing import Literal

#: Whether texts are documents or queries, which are truncated at different lengths and may have different markers.
Side = Literal["doc", "query"]

#: What the head activates: ``"sae"``, latents of a sparse autoencoder; ``"mlm"``, word pieces of the vocabulary.
Head = Literal["sae", "mlm"]

#: What an index multiplies query weights by.
Weighting = Literal["idf", "none"]

#: The number format to compute in. ``"auto"`` means bfloat16 on devices with native support, float32 elsewhere.
Precision = Literal["auto", "float32", "bfloat16"]
