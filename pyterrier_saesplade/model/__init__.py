"""The network: backbone, sparse head, pooling. Nothing here knows PyTerrier."""

from pyterrier_saesplade.model.config import SaeSpladeConfig, Side
from pyterrier_saesplade.model.modeling import SaeSpladeModel

__all__ = ["SaeSpladeConfig", "SaeSpladeModel", "Side"]
