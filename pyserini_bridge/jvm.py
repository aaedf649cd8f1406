"""Java for Anserini. Call :func:`start` before you import Pyserini."""

from pyterrier_saesplade.engines import start_java as start

__all__ = ["start"]
