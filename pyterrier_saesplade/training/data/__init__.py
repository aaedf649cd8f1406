"""What models are fine-tuned on: queries, passages, and which passages a query has."""

from pyterrier_saesplade.training.data.examples import TrainingData

__all__ = ["TrainingData"]
