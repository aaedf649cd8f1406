"""The stages that SAE-SPLADE brings to a PyTerrier pipeline, one per file."""

from pyterrier_saesplade.pipeline.doc_encoder import DocEncoder
from pyterrier_saesplade.pipeline.feedback import ConceptFeedback
from pyterrier_saesplade.pipeline.prune import Prune
from pyterrier_saesplade.pipeline.quantizer import Quantizer
from pyterrier_saesplade.pipeline.query_encoder import QueryEncoder
from pyterrier_saesplade.pipeline.scorer import Scorer
from pyterrier_saesplade.pipeline.standardise import Normalise, Standardise
from pyterrier_saesplade.pipeline.weighting import LatentWeighting

__all__ = [
    "ConceptFeedback",
    "DocEncoder",
    "LatentWeighting",
    "Normalise",
    "Prune",
    "Quantizer",
    "QueryEncoder",
    "Scorer",
    "Standardise",
]
