from .exports import export as export
from .imports import import_vectors as import_vectors
from .jsonl import read_queries as read_queries
