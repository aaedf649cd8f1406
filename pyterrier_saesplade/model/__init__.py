"""The network: backbone, sparse head and pooling. Nothing in this room depends on PyTerrier."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
