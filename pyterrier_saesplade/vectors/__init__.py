"""Concept vectors as data: in memory, as Arrow tables and as posting lists on disk. No model is needed here."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
