"""Suites: several collections that are evaluated as one, with the measures and lengths that belong to them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
