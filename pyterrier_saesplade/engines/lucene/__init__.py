"""Lucene impact indexes, written and searched with Anserini's classes, in this process or in a worker."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
