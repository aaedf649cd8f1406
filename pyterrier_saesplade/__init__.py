"""SAE-SPLADE for PyTerrier: learned sparse retrieval over the concepts of a sparse autoencoder.

The public names are listed in ``__init__.pyi``. Each name is imported when it is first used, so that a test collection
needs no torch and a model needs no Java.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
