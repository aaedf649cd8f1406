"""Stores: the concept vectors of a corpus in Parquet files, encoded once for use with any engine."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
