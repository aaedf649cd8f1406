"""Workarounds for importing Pyserini. Each one is applied only if the installed version needs it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from importlib.metadata import version
from types import ModuleType

from pyterrier_saesplade.engines import start_java

#: From this version on, OpenAI's client cannot be created without a key.
_OPENAI_WANTS_KEY = (2, 34)
#: From this version on, importing Pyserini does not create a client, and faiss is optional.
_PYSERINI_LAZY = (2, 2)

_INDEX_INFO = "pyserini.prebuilt_index_info"
_INDEX_KINDS = ("TF", "IMPACT", "LUCENE_HNSW", "LUCENE_FLAT", "FAISS")


def prepare() -> None:
    """Makes the import of Pyserini succeed. It must be called before the import.

    Raises:
        MissingPackageError: If Pyserini is not installed.
        JavaNotFoundError: If there is no Java 21 or later.
        EngineError: If Java is already running without Anserini's classes.
    """
    start_java()
    if needs_openai_key():
        os.environ.setdefault("OPENAI_API_KEY", "unused")
    if needs_faiss():
        sys.modules["faiss"] = ModuleType("faiss")
    if needs_index_info():
        skip_index_info()


def skip_index_info() -> None:
    """Replaces Pyserini's list of prebuilt indexes with an empty one."""
    stub = ModuleType(_INDEX_INFO)
    for kind in _INDEX_KINDS:
        setattr(stub, f"{kind}_INDEX_INFO", {})
    sys.modules[_INDEX_INFO] = stub


def needs_openai_key() -> bool:
    """Returns whether importing Pyserini creates an OpenAI client, which fails without a key."""
    return _release("pyserini") < _PYSERINI_LAZY and _release("openai") >= _OPENAI_WANTS_KEY


def needs_faiss() -> bool:
    """Returns whether Pyserini's document encoding imports faiss, which is missing and which it does not use."""
    return _release("pyserini") < _PYSERINI_LAZY and importlib.util.find_spec("faiss") is None


def needs_index_info() -> bool:
    """Returns whether importing Pyserini's list of indexes fails. Release 2.4 downloads a part of it from GitHub."""
    try:
        importlib.import_module(_INDEX_INFO)
    except Exception:  # urllib raises several kinds of errors if there is no network
        return True
    return False


def _release(package: str) -> tuple[int, int]:
    major, minor, *_ = version(package).split(".")
    return int(major), int(minor)
