"""What every test collection is: documents, topics and relevance judgements."""

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
    """Documents with the topics and judgements that belong to them.

    Attributes:
        name: What the collection is called in tables and messages.
        language: That of its documents, two letters.
    """

    name: str
    language: str = "en"

    @property
    def source(self) -> str:
        """What `open_collection` takes to open it again: its name, unless it is a folder."""
        return self.name

    @property
    def identity(self) -> dict[str, Any]:
        """What distinguishes its documents from others; of a class of one's own, a digest of all documents."""
        digest = sha256()
        for document in self.get_corpus_iter():
            digest.update(json.dumps([document["docno"], document["text"]]).encode())
        return {"documents": digest.hexdigest()}

    @abstractmethod
    def get_corpus_iter(self) -> Iterator[dict[str, str]]:
        """Iterate over the documents; every call starts again at the first.

        Yields:
            `docno`, `text` (title and text, joined by a blank) and, where the document has one, `title`.
        """

    @abstractmethod
    def topics(self, query_set: str | None = None) -> pd.DataFrame:
        """Return the queries as a frame of `qid` and `query`.

        Args:
            query_set: A further query set over the same documents, such as `"train"`.
        """

    @abstractmethod
    def qrels(self, query_set: str | None = None) -> pd.DataFrame:
        """Return the relevance judgements as a frame of `qid`, `docno` and `label` (an integer).

        Args:
            query_set: A further query set over the same documents, such as `"train"`.
        """

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


def make_document(docno: str, text: str, title: str | None) -> dict[str, str]:
    """Returns a document whose text begins with its title."""
    if not title:
        return {"docno": docno, "text": text}
    return {"docno": docno, "text": f"{title} {text}", "title": title}


def check_identifier(where: str, column: str, value: object) -> None:
    """Refuse what cannot stand in a column of a run or of qrels, which white space separates.

    Args:
        where: Where the value stands, such as `file:number`, for the message.
        column: What it is, such as `docno`.
        value: The value.

    Raises:
        ValueError: The value is no string, empty, or holds white space.
    """
    if not isinstance(value, str) or value.split() != [value]:
        raise DataError(f"{where}: {column} must be a string that is not empty and free of blanks, found {value!r}")
