"""BM25 and RM3 of Anserini, and so of Pyserini."""

from __future__ import annotations

import json
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyterrier as pt

from pyterrier_saesplade.checks import require_positive
from pyterrier_saesplade.engines import Hits, anserini_jar, get_lucene, require_anserini, result_frame
from pyterrier_saesplade.errors import DataError, EngineError
from pyterrier_saesplade.evaluation.systems.base import Artifact, ArtifactCache, System
from pyterrier_saesplade.evaluation.systems.kinds import Given, system_kind
from pyterrier_saesplade.evaluation.systems.stages import NUM_RESULTS, search
from pyterrier_saesplade.evaluation.systems.words import BM25_B, BM25_K1
from pyterrier_saesplade.impacts import as_texts
from pyterrier_saesplade.metrics import qd_flops
from pyterrier_saesplade.pipeline import Stage

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd

#: The characters that ``trim()`` in Java removes; Anserini skips a text if nothing else is in it.
_JAVA_BLANKS = "".join(map(chr, range(33)))

#: Number of queries per request to Anserini; the whole answer is kept in memory.
_WINDOW = 256


class AnseriniWords(Artifact):
    """The words of a corpus in a Lucene index, with Anserini's defaults and the document vectors that RM3 needs.

    Pyserini's commands accept the folder as their ``--index``.
    """

    name = "anserini-words"

    @property
    def identity(self) -> str:
        """The version of Anserini, which determines the defaults."""
        return f"words, {anserini_jar().stem}"

    def build(self, artifacts: ArtifactCache, path: Path) -> None:
        """Writes the texts to files that Anserini reads, and indexes them.

        Raises:
            EngineError: If Anserini did not index every document that has a text.
            DataError: If no document has a text.
        """
        with tempfile.TemporaryDirectory(dir=path.parent) as texts:
            written = _write_texts(artifacts.corpus.documents(), Path(texts, "docs.jsonl"))
            if written == 0:
                raise DataError(f"all documents of {artifacts.corpus.collection.name} are empty")
            indexed = get_lucene().index_texts(Path(texts), path)
        if indexed != written:
            raise EngineError(f"Anserini indexed {indexed} of {written} documents")


class AnseriniRetriever(Stage):
    """Searches a Lucene index of texts with Anserini's BM25, with k1 = 0.9 and b = 0.4.

    Queries are plain text; no character in them is syntax. Documents with equal scores are ordered by docno. Lucene
    runs where the engine ``anserini`` runs: in a separate process, unless PyTerrier's Java can load it.

    Args:
        index: The folder of an index that Anserini made from texts; RM3 needs one made with ``-storeDocvectors``.
        num_results: Maximum number of documents per query. RM3 expands queries by default with the first 10 of these.
        rm3: Whether to expand queries with words of the first results, by Anserini's RM3.

    Raises:
        EngineError: If Anserini cannot read the index.
        SettingError: If ``num_results`` is not positive.

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
        """Returns a row per query and retrieved document: the query's columns, ``docno``, ``score`` and ``rank``."""
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
    """Anserini's BM25, which Pyserini runs as ``--bm25``.

    Raises:
        MissingPackageError: If Pyserini is not installed.
        JavaNotFoundError: If Java 21 or later is not installed.
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
        """Returns an identity transformer, and Anserini's retriever."""
        retriever = partial(AnseriniRetriever, artifacts.path(self.words))
        return pt.Transformer.identity(), search(retriever, ignore_identical_ids=ignore_identical_ids)

    def qd_flops(self, artifacts: ArtifactCache, queries: Sequence[str]) -> float:
        """Counts the words that Anserini's analyser leaves of queries and documents, after stopping and stemming."""
        return self._flops(artifacts, queries, rm3=False)

    def _flops(self, artifacts: ArtifactCache, queries: Sequence[str], *, rm3: bool) -> float:
        answer = get_lucene().query_words(artifacts.path(self.words), queries, k1=BM25_K1, b=BM25_B, rm3=rm3)
        counts = json.loads(answer).values()  # for each word: the numbers of queries and of documents that contain it
        query_df, df = zip(*counts, strict=True) if counts else ((), ())
        return qd_flops(query_df, len(queries), df, artifacts.corpus.n_docs)


class AnseriniRm3(AnseriniBm25):
    """Anserini's BM25 with its RM3: a second search with queries expanded by words of the first results."""

    name = "anserini-rm3"
    note = f"{name}: anserini-bm25, with queries expanded by 10 words of the first 10 documents, by Anserini's RM3"

    def stages(
        self, artifacts: ArtifactCache, *, ignore_identical_ids: bool = False
    ) -> tuple[pt.Transformer, pt.Transformer]:
        """Returns an identity transformer, and Anserini's retriever. Its feedback ignores ``ignore_identical_ids``."""
        retriever = partial(AnseriniRetriever, artifacts.path(self.words), rm3=True)
        return pt.Transformer.identity(), search(retriever, ignore_identical_ids=ignore_identical_ids)

    def qd_flops(self, artifacts: ArtifactCache, queries: Sequence[str]) -> float:
        """Adds the costs of both searches."""
        return super().qd_flops(artifacts, queries) + self._flops(artifacts, queries, rm3=True)


def _write_texts(documents: Iterable[Mapping[str, str]], path: Path) -> int:
    """Writes the documents that are not empty in Anserini's format, and returns their number."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for document in documents:
            if document["text"].strip(_JAVA_BLANKS):
                file.write(json.dumps({"id": document["docno"], "contents": document["text"]}) + "\n")
                count += 1
    return count


@system_kind("anserini-bm25", help="BM25 of Anserini and Pyserini; English only")
def _anserini_bm25(given: Given) -> System:
    given.require_english()
    return AnseriniBm25()


@system_kind("anserini-rm3", help="``anserini-bm25`` with Anserini's RM3; English only")
def _anserini_rm3(given: Given) -> System:
    given.require_english()
    return AnseriniRm3()
