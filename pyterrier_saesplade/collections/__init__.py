"""Test collections: their documents, topics and relevance judgements, and their texts in tables on disk."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
