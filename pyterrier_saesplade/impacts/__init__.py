"""From concept vectors to what an inverted index holds: pseudo-terms, impacts, latent statistics."""

from pyterrier_saesplade.impacts.pruning import Pruning
from pyterrier_saesplade.impacts.quantization import AlreadyQuantizedError, Quantization
from pyterrier_saesplade.impacts.statistics import LatentStatistics, Weighting
from pyterrier_saesplade.impacts.terms import Terms

__all__ = ["AlreadyQuantizedError", "LatentStatistics", "Pruning", "Quantization", "Terms", "Weighting"]
