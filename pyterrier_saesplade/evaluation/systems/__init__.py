"""The systems of a comparison: how each one indexes and searches, and what scoring costs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
