"""Text in, concept vectors out: tokenising, batching, precision, devices."""

from pyterrier_saesplade.encoding.vectors import ConceptVectors

__all__ = ["ConceptVectors", "Encoder"]


def __getattr__(name: str) -> object:
    # torch and transformers take seconds to import, and reading vectors needs neither.
    if name == "Encoder":
        from pyterrier_saesplade.encoding.encoder import Encoder

        return Encoder
    raise AttributeError(name)
