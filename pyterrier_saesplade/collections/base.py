"""The base class of test collections: documents, topics and qrels."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from pyterrier_saesplade.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd


class Collection(ABC):
    """Documents with their topics and qrels.

    Attributes:
        name: The name of the collection in tables and messages.
        language: The language of the documents, as a two-letter code.

    Examples:
        >>> class Tiny(Collection):
        ...     name = "tiny"
        ...
        ...     def get_corpus_iter(self):
        ...         yield {"docno": "d1", "text": "sparse vectors"}
        ...
        ...     def topics(self, query_set=None):
        ...         return pd.DataFrame([["q1", "what is sparse"]], columns=["qid", "query"])
        ...
        ...     def qrels(self, query_set=None):
        ...         return pd.DataFrame([["q1", "d1", 1]], columns=["qid", "docno", "label"])
        >>> Tiny()
        Tiny('tiny')
    """

    name: str
    language: str = "en"

    @property
    def source(self) -> str:
        """The argument with which ``open_collection`` opens it again: its name, or the path of its folder."""
        return self.name

    @property
    def identity(self) -> dict[str, Any]:
        """What distinguishes its documents from those of other collections: by default, a digest of all of them."""
        digest = sha256()
        for document in self.get_corpus_iter():
            digest.update(json.dumps([document["docno"], document["text"]]).encode())
        return {"documents": digest.hexdigest()}

    @abstractmethod
    def get_corpus_iter(self) -> Iterator[dict[str, str]]:
        """Iterates over the documents; every call starts again with the first.

        Yields:
            Dictionaries with ``docno``, ``text`` (title and text, joined by a space) and, if the document has one,
            ``title``.
        """

    @abstractmethod
    def topics(self, query_set: str | None = None) -> pd.DataFrame:
        """Returns the queries, as a frame of ``qid`` and ``query``.

        Args:
            query_set: Another query set over the same documents, such as ``"train"``.
        """

    @abstractmethod
    def qrels(self, query_set: str | None = None) -> pd.DataFrame:
        """Returns the qrels, as a frame of ``qid``, ``docno`` and ``label`` (an integer).

        Args:
            query_set: Another query set over the same documents, such as ``"train"``.
        """

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


def make_document(docno: str, text: str, title: str | None) -> dict[str, str]:
    """Returns a document whose text begins with its title."""
    if not title:
        return {"docno": docno, "text": text}
    return {"docno": docno, "text": f"{title} {text}", "title": title}


def check_identifier(where: str, column: str, value: object) -> None:
    """Checks an identifier. Runs and qrels separate their columns by whitespace, so it must not contain any.

    Args:
        where: Where the value was found, such as ``file:number``, for the message.
        column: The name of the value, such as ``docno``.
        value: The value.

    Raises:
        DataError: If the value is not a string, is empty, or contains whitespace.

    Examples:
        >>> check_identifier("docs.jsonl:3", "docno", "d 3")
        Traceback (most recent call last):
        ...
        pyterrier_saesplade.errors.DataError: docs.jsonl:3: docno must be a non-empty string ..., not 'd 3'
    """
    if not isinstance(value, str) or value.split() != [value]:
        raise DataError(f"{where}: {column} must be a non-empty string without whitespace, not {value!r}")
