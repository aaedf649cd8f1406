"""From concept vectors to the content of an inverted index: pseudo-terms, impacts and latent statistics."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
