"""What SAE-SPLADE is compared with, and no plugin of PyTerrier offers ready-made: late interaction."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
