"""Training: the sparse autoencoder on a corpus, without labels."""

from pyterrier_saesplade.training.config import PretrainConfig
from pyterrier_saesplade.training.pretrain import pretrain

__all__ = ["PretrainConfig", "pretrain"]
