"""Concept vectors in the files of other tools: one format per file, none needs PyTerrier."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
