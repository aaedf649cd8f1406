"""The systems that a comparison has: how each indexes and searches, and what its scoring costs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
