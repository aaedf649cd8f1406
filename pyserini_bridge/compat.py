"""What it takes to import Pyserini: each thing is done only where the installed version needs it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from importlib.metadata import version
from types import ModuleType

from pyterrier_saesplade.engines import start_java

#: From this version on a client without a key is an error.
_OPENAI_WANTS_KEY = (2, 34)
#: From this version on Pyserini makes no client when it is imported, and faiss is optional.
_PYSERINI_LAZY = (2, 2)

_INDEX_INFO = "pyserini.prebuilt_index_info"
_INDEX_KINDS = ("TF", "IMPACT", "LUCENE_HNSW", "LUCENE_FLAT", "FAISS")


def prepare() -> None:
    """Makes the import of Pyserini succeed; to be called before it.

    Raises:
        ImportError: If Pyserini is not installed.
        JavaNotFoundError: If there is no Java of version 21 or later.
        RuntimeError: If Java runs already, without Anserini's classes.
    """
    start_java()
    if needs_openai_key():
        os.environ.setdefault("OPENAI_API_KEY", "unused")
    if needs_faiss():
        sys.modules["faiss"] = ModuleType("faiss")
    if needs_index_info():
        skip_index_info()


def skip_index_info() -> None:
    """Lets Pyserini know no prebuilt indexes."""
    stub = ModuleType(_INDEX_INFO)
    for kind in _INDEX_KINDS:
        setattr(stub, f"{kind}_INDEX_INFO", {})
    sys.modules[_INDEX_INFO] = stub


def needs_openai_key() -> bool:
    """Tells whether Pyserini makes a client of OpenAI when it is imported, and that is an error without a key."""
    return _release("pyserini") < _PYSERINI_LAZY and _release("openai") >= _OPENAI_WANTS_KEY


def needs_faiss() -> bool:
    """Tells whether Pyserini's document encoding imports faiss, which is not there, and which it does not use."""
    return _release("pyserini") < _PYSERINI_LAZY and importlib.util.find_spec("faiss") is None


def needs_index_info() -> bool:
    """Tells whether Pyserini's list of indexes can't be imported: release 2.4 asks GitHub for a part of it."""
    try:
        importlib.import_module(_INDEX_INFO)
    except Exception:  # urllib's, for want of a network
        return True
    return False


def _release(package: str) -> tuple[int, int]:
    major, minor, *_ = version(package).split(".")
    return int(major), int(minor)
