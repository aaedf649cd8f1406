"""Concept vectors as data: in memory, as Arrow tables, as posting lists on disk; nothing here needs a model."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
