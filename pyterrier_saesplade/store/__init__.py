"""Concept vectors on disk, encoded once for every engine: Parquet files that anything can read."""
