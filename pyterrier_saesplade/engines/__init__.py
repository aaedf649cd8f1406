"""Indexes of concept vectors, one engine per file."""
