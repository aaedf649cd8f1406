"""Passages and queries as cached tables of texts."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from pyterrier_saesplade.collections.base import Collection
from pyterrier_saesplade.collections.cache import cached, file_identity
from pyterrier_saesplade.collections.open import as_collection
from pyterrier_saesplade.collections.problems import OnError, Problems
from pyterrier_saesplade.collections.texts import TextTable, key
from pyterrier_saesplade.errors import DataError
from pyterrier_saesplade.files import numbered_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

#: The version of the cached files. Increase it when their content changes, so that old ones are not used.
_VERSION = 3

#: A file of ``identifier<TAB>text`` lines, a collection, or the name of a collection.
Texts = Collection | str | os.PathLike[str]


def passages_of(source: Texts, on_error: OnError = "report") -> TextTable:
    """Returns the passages of a collection, or of a file of ``pid<TAB>text`` lines, as a cached table.

    Args:
        source: The file or collection.
        on_error: Whether an unusable line is counted and reported, or an error.

    Raises:
        DataError: If a line cannot be used and ``on_error`` is ``"raise"``.

    Examples:
        >>> table = passages_of("my-collection")
        >>> table.texts(table.rows(["d3"]))
        ['Cats sleep for most of the day.']
    """
    if is_tab_separated(source):
        return _table({"texts": identity_of(source)}, partial(_tab_separated, Path(str(source))), on_error)
    collection = as_collection(source)
    pairs = ((document["docno"], document["text"]) for document in collection.get_corpus_iter())
    return _table({"documents": collection.identity}, lambda _: pairs, on_error)


def queries_of(source: Texts | pd.DataFrame, on_error: OnError = "report") -> tuple[TextTable, dict[str, Any]]:
    """Returns queries as a cached table, and what identifies them.

    Args:
        source: A file of ``qid<TAB>query`` lines, a collection, or a frame of ``qid`` and ``query``.
        on_error: Whether an unusable line is counted and reported, or an error.

    Raises:
        DataError: If a line cannot be used and ``on_error`` is ``"raise"``.

    Examples:
        >>> table, identity = queries_of(topics)
        >>> table.texts(table.rows(["q2"]))
        ['young cat']
    """
    if not isinstance(source, pd.DataFrame) and is_tab_separated(source):
        identity: dict[str, Any] = {"texts": identity_of(source)}
        return _table(identity, partial(_tab_separated, Path(str(source))), on_error), identity
    topics = source if isinstance(source, pd.DataFrame) else as_collection(source).topics()
    pairs = list(zip(topics["qid"].astype(str), topics["query"], strict=True))
    identity = {"queries": key(json.dumps(pairs))}
    return _table(identity, lambda _: pairs, on_error), identity


def identity_of(source: Texts) -> dict[str, Any]:
    """Returns what identifies the texts of a source, so that a source that has changed is read again."""
    return file_identity(Path(str(source))) if is_tab_separated(source) else as_collection(source).identity


def is_tab_separated(source: Texts) -> bool:
    """Returns whether a source is a file of ``identifier<TAB>text`` lines, judging by its name.

    Examples:
        >>> is_tab_separated("queries.tsv"), is_tab_separated("irds:beir/scifact")
        (True, False)
    """
    return not isinstance(source, Collection) and str(source).endswith((".tsv", ".tsv.gz"))


def decoded_lines(file: Path, problems: Problems) -> Iterator[tuple[str, str]]:
    """Yields ``file:number`` and the text of each non-blank line; lines that are not UTF-8 are noted as problems."""
    for where, line in numbered_lines(file):
        try:
            text = line.decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            problems.note(where, "not UTF-8", error.reason)
            continue
        if text.strip():
            yield where, text


def _table(
    parts: dict[str, Any], texts: Callable[[Problems], Iterable[tuple[str, str]]], on_error: OnError
) -> TextTable:
    def build(folder: Path) -> None:
        problems = Problems(on_error)
        TextTable.write(folder / "texts.utf8", texts(problems), problems)

    table = TextTable(cached(parts | {"version": _VERSION}, build) / "texts.utf8")
    if on_error == "raise" and table.problems:  # the cached table was built with on_error="report"
        raise DataError("; ".join(table.problems))
    return table


def _tab_separated(file: Path, problems: Problems) -> Iterator[tuple[str, str]]:
    for where, line in decoded_lines(file, problems):
        identifier, tab, text = line.partition("\t")
        if tab:
            yield identifier, text
        else:
            problems.note(where, "broken line", "expected an identifier, a tab and a text")
