"""SAE-SPLADE for PyTerrier: learned sparse retrieval over the concepts of a sparse autoencoder.

The names below are imported at their first use, so that the model alone needs no PyTerrier, and a test collection no
torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyterrier_saesplade.engines.exact import ExactConceptIndex
    from pyterrier_saesplade.engines.terrier import TerrierConceptIndex
    from pyterrier_saesplade.evaluation.collections import open_collection
    from pyterrier_saesplade.impacts import LatentStatistics, Quantization
    from pyterrier_saesplade.pipeline import DocEncoder, LatentWeighting, Prune, Quantizer, QueryEncoder, Scorer
    from pyterrier_saesplade.saesplade import SaeSplade

__version__ = "0.1.0"

__all__ = [
    "DocEncoder",
    "ExactConceptIndex",
    "LatentStatistics",
    "LatentWeighting",
    "Prune",
    "Quantization",
    "Quantizer",
    "QueryEncoder",
    "SaeSplade",
    "Scorer",
    "TerrierConceptIndex",
    "open_collection",
]

_MODULES = {
    "engines.exact": ["ExactConceptIndex"],
    "engines.terrier": ["TerrierConceptIndex"],
    "evaluation.collections": ["open_collection"],
    "impacts": ["LatentStatistics", "Quantization"],
    "pipeline": ["DocEncoder", "LatentWeighting", "Prune", "Quantizer", "QueryEncoder", "Scorer"],
    "saesplade": ["SaeSplade"],
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
