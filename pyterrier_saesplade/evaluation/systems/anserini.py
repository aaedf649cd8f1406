"""Anserini's BM25 and RM3, which are Pyserini's."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd
import pyterrier as pt

from pyterrier_saesplade.checks import require_positive
from pyterrier_saesplade.engines import Hits, anserini_jar, get_lucene, require_anserini, result_frame
from pyterrier_saesplade.errors import EngineError, SettingError
from pyterrier_saesplade.evaluation.systems.base import Artifact, ArtifactCache, System
from pyterrier_saesplade.evaluation.systems.kinds import Given, system_kind
from pyterrier_saesplade.evaluation.systems.stages import NUM_RESULTS, search
from pyterrier_saesplade.evaluation.systems.words import BM25_B, BM25_K1
from pyterrier_saesplade.impacts import as_texts
from pyterrier_saesplade.metrics import qd_flops
from pyterrier_saesplade.pipeline import Stage

if TYPE_CHECKING:
    pass

#: What Java's ``trim()`` takes off: Anserini leaves out a text of which nothing is left.
_JAVA_BLANKS = "".join(map(chr, range(33)))

#: Queries in one request to Anserini, whose answer is held in memory.
_WINDOW = 256


class AnseriniWords(Artifact):
    """The words of a corpus in a Lucene index, by Anserini's defaults and with the vectors that RM3 reads.

    Pyserini's commands take the folder as their ``--index``.
    """

    name = "anserini-words"

    @property
    def identity(self) -> str:
        """The version of Anserini, whose defaults they are."""
        return f"words, {anserini_jar().stem}"

    def build(self, artifacts: ArtifactCache, path: Path) -> None:
        """Writes the texts out for Anserini, and artifacts them.

        Raises:
            EngineError: If Anserini did not index every document that has a text.
            ValueError: If none has.
        """
        with tempfile.TemporaryDirectory(dir=path.parent) as texts:
            written = _write_texts(artifacts.corpus.documents(), Path(texts, "docs.jsonl"))
            if written == 0:
                raise SettingError(f"the documents of {artifacts.corpus.collection.name} are all empty")
            indexed = get_lucene().index_texts(Path(texts), path)
        if indexed != written:
            raise EngineError(f"Anserini indexed {indexed} of {written} documents")


class AnseriniRetriever(Stage):
    """Searches a Lucene index of texts with Anserini's BM25, k1 = 0.9 and b = 0.4.

    Queries are taken as they are: nothing in them is syntax. Equal scores are ranked by docno. Lucene runs where the
    engine ``anserini`` runs, in a process of its own unless PyTerrier's Java can load it.

    Args:
        index: The folder of an index that Anserini made of texts; for RM3 with ``-storeDocvectors``.
        num_results: Documents per query at most. RM3, by default, learns from the first 10 of these.
        rm3: Whether queries take up words of the documents that they find, by Anserini's RM3.

    Raises:
        EngineError: When Anserini cannot read the index.
        ValueError: If ``num_results`` is not positive.

    Examples:
        >>> AnseriniRetriever("my-lucene-index").search("river bank")["docno"].tolist()
        ['d10', 'd1', 'd8', 'd2']
    """

    label: ClassVar[str] = "Anserini BM25"

    def __init__(self, index: str | os.PathLike[str], num_results: int = NUM_RESULTS, *, rm3: bool = False) -> None:
        require_positive(num_results=num_results)
        self.index = Path(index)
        self.num_results = num_results
        self.rm3 = rm3

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Returns one row per query and document found: the query's columns, ``docno``, ``score`` and ``rank``."""
        pt.validate.query_frame(inp, extra_columns=["query"])
        queries = [text or "" for text in as_texts(inp["query"])]
        hits: list[Hits] = []
        for start in range(0, len(queries), _WINDOW):
            hits += self._search(queries[start : start + _WINDOW])
        return result_frame(inp, hits)

    def _search(self, queries: Sequence[str]) -> list[Hits]:
        answer = get_lucene().search_texts(self.index, queries, self.num_results, k1=BM25_K1, b=BM25_B, rm3=self.rm3)
        found = json.loads(answer)
        tops = [found[str(place)] for place in range(len(queries))]
        return [
            Hits([hit["docid"] for hit in top], np.array([hit["score"] for hit in top], np.float64)) for top in tops
        ]


class AnseriniBm25(System):
    """Anserini's BM25, as Pyserini's ``--bm25`` gives it.

    Raises:
        ImportError: If Pyserini is not installed.
        JavaNotFoundError: If there is no Java of version 21 or later.
    """

    name = "anserini-bm25"
    note = f"{name}: Anserini's, k1 {BM25_K1}, b {BM25_B}, Porter stemmer, Lucene's stop words, title and text together"

    def __init__(self) -> None:
        require_anserini()
        self.words = AnseriniWords()
        self.searched = (self.words,)

    def stages(
        self, artifacts: ArtifactCache, *, ignore_identical_ids: bool = False
    ) -> tuple[pt.Transformer, pt.Transformer]:
        """Nothing to encode, and Anserini."""
        retriever = partial(AnseriniRetriever, artifacts.path(self.words))
        return pt.Transformer.identity(), search(retriever, ignore_identical_ids=ignore_identical_ids)

    def qd_flops(self, artifacts: ArtifactCache, queries: Sequence[str]) -> float:
        """Counts words after stopping and stemming, as Anserini analyses queries and documents."""
        return self._flops(artifacts, queries, rm3=False)

    def _flops(self, artifacts: ArtifactCache, queries: Sequence[str], *, rm3: bool) -> float:
        answer = get_lucene().query_words(artifacts.path(self.words), queries, k1=BM25_K1, b=BM25_B, rm3=rm3)
        counts = json.loads(answer).values()  # (queries, documents) that hold each word
        query_df, df = zip(*counts, strict=True) if counts else ((), ())
        return qd_flops(query_df, len(queries), df, artifacts.corpus.n_docs)


class AnseriniRm3(AnseriniBm25):
    """Anserini's BM25 twice: the second query has words of the documents that the first found, by Anserini's RM3."""

    name = "anserini-rm3"
    note = f"{name}: anserini-bm25, whose queries take up 10 words of the first 10 documents, by Anserini's RM3"

    def stages(
        self, artifacts: ArtifactCache, *, ignore_identical_ids: bool = False
    ) -> tuple[pt.Transformer, pt.Transformer]:
        """Nothing to encode, and Anserini, which learns from a query's own document if that is found."""
        retriever = partial(AnseriniRetriever, artifacts.path(self.words), rm3=True)
        return pt.Transformer.identity(), search(retriever, ignore_identical_ids=ignore_identical_ids)

    def qd_flops(self, artifacts: ArtifactCache, queries: Sequence[str]) -> float:
        """Adds what both searches cost."""
        return super().qd_flops(artifacts, queries) + self._flops(artifacts, queries, rm3=True)


def _write_texts(documents: Iterable[Mapping[str, str]], path: Path) -> int:
    """Writes documents that are not empty as Anserini reads them, and returns how many there are."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for document in documents:
            if document["text"].strip(_JAVA_BLANKS):
                file.write(json.dumps({"id": document["docno"], "contents": document["text"]}) + "\n")
                count += 1
    return count


@system_kind("anserini-bm25", help="Anserini's BM25, which is Pyserini's; English only")
def _anserini_bm25(given: Given) -> System:
    given.require_english()
    return AnseriniBm25()


@system_kind("anserini-rm3", help="``anserini-bm25`` with Anserini's RM3")
def _anserini_rm3(given: Given) -> System:
    given.require_english()
    return AnseriniRm3()
