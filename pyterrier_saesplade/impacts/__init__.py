"""From concept vectors to what an inverted index holds: pseudo-terms, impacts, latent statistics."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
