"""Pre-training of the sparse autoencoder on a corpus, and fine-tuning of the model for ranking."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
