"""Java for Anserini: start it here before Pyserini is imported."""

from pyterrier_saesplade.engines import start_java as start

__all__ = ["start"]
