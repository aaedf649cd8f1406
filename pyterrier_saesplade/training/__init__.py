"""Training: the sparse autoencoder on a corpus, without labels; then the whole model for ranking."""

from pyterrier_saesplade.training.config import FinetuneConfig, PretrainConfig
from pyterrier_saesplade.training.finetune import finetune
from pyterrier_saesplade.training.pretrain import pretrain

__all__ = ["FinetuneConfig", "PretrainConfig", "finetune", "pretrain"]
