"""Reads and writes concept vectors in the formats of other tools, with one file per format.

None of them needs PyTerrier.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
