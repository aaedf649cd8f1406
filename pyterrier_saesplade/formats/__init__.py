"""Concept vectors in the files of other tools: one format per file, none needs PyTerrier."""
