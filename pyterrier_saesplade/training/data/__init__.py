"""Training data for fine-tuning: queries, passages, and which passages belong to a query."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
