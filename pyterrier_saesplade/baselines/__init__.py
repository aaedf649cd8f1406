"""What SAE-SPLADE is compared with, and no plugin of PyTerrier offers ready-made: late interaction."""
