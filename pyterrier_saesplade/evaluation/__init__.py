"""Collections, measures and comparisons."""
