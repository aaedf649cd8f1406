"""SAE-SPLADE for PyTerrier: learned sparse retrieval over the concepts of a sparse autoencoder."""

__version__ = "0.1.0"
