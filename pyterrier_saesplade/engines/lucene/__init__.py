"""Lucene indexes of impacts, written and searched by Anserini's classes, here or in a process of its own."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
