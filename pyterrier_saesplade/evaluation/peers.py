"""What users of other tools know, in a comparison: pyterrier-splade's encoder, and Anserini's BM25 and RM3."""

from __future__ import annotations

import importlib.util
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import pyterrier as pt

from pyserini_bridge import jvm
from pyserini_bridge.process import lucene
from pyterrier_saesplade.engines.frames import result_frame
from pyterrier_saesplade.engines.index import Hits
from pyterrier_saesplade.errors import EngineError
from pyterrier_saesplade.evaluation.stages import NUM_RESULTS, search
from pyterrier_saesplade.evaluation.systems import (
    BM25_B,
    BM25_K1,
    Index,
    Indexes,
    Part,
    System,
    flops_of_words,
)
from pyterrier_saesplade.files import installed_versions
from pyterrier_saesplade.impacts.toks import as_texts
from pyterrier_saesplade.metrics import qd_flops
from pyterrier_saesplade.model.digest import tokenizer_digest, weights_digest
from pyterrier_saesplade.pipeline.stage import Stage, require_positive
from pyterrier_saesplade.saesplade import SaeSplade

if TYPE_CHECKING:
    from pyterrier_splade import Splade

#: What Java's ``trim()`` takes off: Anserini leaves out a text of which nothing is left.
_JAVA_BLANKS = "".join(map(chr, range(33)))

#: Texts in one batch of pyterrier-splade. It computes with a weight for every token and every word piece, several times
#: over: with its own batches, of 100, that was 10 GB on Cranfield, with these 2.4, and took as long.
_BATCH = 16

#: Queries in one request to Anserini, whose answer is held in memory.
_WINDOW = 256


class PtSpladeQueries(Stage):
    """Encodes queries as pyterrier-splade does: ``query_toks``, floats, 100 times the weights.

    A missing query is taken for an empty one, which pyterrier-splade's own stage is not prepared for. The model is
    loaded at the first query.

    Args:
        source: Folder or hub name of a SPLADE checkpoint.
        max_length: Word pieces kept per text, markers included.

    Raises:
        FileNotFoundError: If there is no model at the source.
        ImportError: If pyterrier-splade is not installed.
        ValueError: If the model is of another kind, or ``max_length`` is not positive.

    Examples:
        >>> PtSpladeQueries("naver/splade-v3").search("a query")  # doctest: +SKIP
    """

    label: ClassVar[str] = "pyterrier-splade"

    def __init__(self, source: str, max_length: int = 256) -> None:
        if importlib.util.find_spec("pyterrier_splade") is None:
            raise ImportError(
                "the baseline 'pt-splade' needs pyterrier-splade: pip install 'pyterrier_saesplade[pt-splade]'"
            )
        require_positive(max_length=max_length)
        SaeSplade.from_splade(source)  # an error now, in one line, if there is no checkpoint
        self.source = source
        self.max_length = max_length

    @cached_property
    def splade(self) -> Splade:
        """pyterrier-splade's model, loaded at first use."""
        from pyterrier_splade import Splade

        return Splade(self.source, max_length=self.max_length)

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Returns ``inp`` with a column ``query_toks``."""
        pt.validate.query_frame(inp, extra_columns=["query"])
        if inp.empty:
            return inp.assign(query_toks=pd.Series(index=inp.index, dtype=object))
        texts = [text or "" for text in as_texts(inp["query"])]
        encoded = self.splade.query_encoder(batch_size=_BATCH).transform(pt.new.queries(texts))["query_toks"]
        return inp.assign(query_toks=pd.Series(encoded.tolist(), index=inp.index, dtype=object))


class PtSplade(Index):
    """A SPLADE checkpoint by pyterrier-splade's recipe: its encoder, Terrier's index of ``toks``, Terrier's ``Tf``.

    Weights of documents are multiplied by 100 and cut to integers, as pyterrier-splade does it; those of queries are
    floats. ``splade=NAME`` is the same checkpoint by this package: other integers, the same ranking but for that.

    Args:
        source: Folder or hub name of a SPLADE checkpoint.
        name: What the line is called.
        max_length: Word pieces kept per text, markers included.

    Raises:
        FileNotFoundError: If there is no model at the source.
        ImportError: If pyterrier-splade is not installed.
        ValueError: If the model is of another kind, or ``max_length`` is not positive.
    """

    def __init__(self, source: str, name: str = "pt-splade", *, max_length: int = 256) -> None:
        self.queries = PtSpladeQueries(source, max_length)
        self.name = name
        self.note = (
            f"{name}: pyterrier-splade's encoder of {source} in batches of {_BATCH}, weights times 100, texts cut at "
            f"{max_length} word pieces, in Terrier"
        )

    @property
    def identity(self) -> str:
        """The weights, the tokenizer, the length, and the version of what encodes."""
        splade = self.queries.splade
        (version,) = installed_versions(["pyterrier_splade"]).values()
        digests = f"{weights_digest(splade.model)} {tokenizer_digest(splade.tokenizer)}"
        return f"pyterrier-splade {version} {digests} {self.queries.max_length}"

    def build(self, indexes: Indexes, path: Path) -> None:
        """Encodes and indexes the corpus."""
        indexer = self._terrier(path).toks_indexer(meta={"docno": indexes.corpus.docno_length})
        (self.queries.splade.doc_encoder(batch_size=_BATCH) >> indexer).index(indexes.corpus.documents())

    def stages(self, indexes: Indexes, *, exclude_own: bool = False) -> tuple[pt.Transformer, pt.Transformer]:
        """The query encoder, and Terrier's sum of products."""
        terrier = self._terrier(indexes.path(self))
        return self.queries, search(lambda num_results: terrier.tf(num_results=num_results), exclude_own=exclude_own)

    def qd_flops(self, indexes: Indexes, queries: Sequence[str]) -> float:
        """Counts word pieces of the queries as encoded, and of the documents as indexed."""
        query_df: Counter[str] = Counter()
        for toks in self.queries.transform(pt.new.queries(list(queries)))["query_toks"]:
            query_df.update(toks.keys())
        return flops_of_words(self._terrier(indexes.path(self)).index_obj(), query_df, len(queries))

    def _terrier(self, path: Path) -> Any:
        return pt.terrier.TerrierIndex(str(path))


class AnseriniWords(Part):
    """The words of a corpus in a Lucene index, by Anserini's defaults and with the vectors that RM3 reads.

    Pyserini's commands take the folder as their ``--index``.
    """

    name = "anserini-words"

    @property
    def identity(self) -> str:
        """The version of Anserini, whose defaults they are."""
        return f"words, {jvm.anserini_jar().stem}"

    def build(self, indexes: Indexes, path: Path) -> None:
        """Writes the texts out for Anserini, and indexes them.

        Raises:
            EngineError: If Anserini did not index every document that has a text.
            ValueError: If none has.
        """
        with tempfile.TemporaryDirectory(dir=path.parent) as texts:
            written = _write_texts(indexes.corpus.documents(), Path(texts, "docs.jsonl"))
            if written == 0:
                raise ValueError(f"the documents of {indexes.corpus.collection.name} are all empty")
            indexed = lucene().index_texts(Path(texts), path)
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
        >>> AnseriniRetriever("lucene-index", rm3=True).search("a query")  # doctest: +SKIP
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
        answer = lucene().search_texts(self.index, queries, self.num_results, k1=BM25_K1, b=BM25_B, rm3=self.rm3)
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
        jvm.require()
        self.words = AnseriniWords()
        self.searched = (self.words,)

    def stages(self, indexes: Indexes, *, exclude_own: bool = False) -> tuple[pt.Transformer, pt.Transformer]:
        """Nothing to encode, and Anserini."""
        retriever = partial(AnseriniRetriever, indexes.path(self.words))
        return pt.Transformer.identity(), search(retriever, exclude_own=exclude_own)

    def qd_flops(self, indexes: Indexes, queries: Sequence[str]) -> float:
        """Counts words after stopping and stemming, as Anserini analyses queries and documents."""
        return self._flops(indexes, queries, rm3=False)

    def _flops(self, indexes: Indexes, queries: Sequence[str], *, rm3: bool) -> float:
        answer = lucene().query_words(indexes.path(self.words), queries, k1=BM25_K1, b=BM25_B, rm3=rm3)
        counts = json.loads(answer).values()  # (queries, documents) that hold each word
        query_df, df = zip(*counts, strict=True) if counts else ((), ())
        return qd_flops(query_df, len(queries), df, indexes.corpus.n_docs)


class AnseriniRm3(AnseriniBm25):
    """Anserini's BM25 twice: the second query has words of the documents that the first found, by Anserini's RM3."""

    name = "anserini-rm3"
    note = f"{name}: anserini-bm25, whose queries take up 10 words of the first 10 documents, by Anserini's RM3"

    def stages(self, indexes: Indexes, *, exclude_own: bool = False) -> tuple[pt.Transformer, pt.Transformer]:
        """Nothing to encode, and Anserini, which learns from a query's own document if that is found."""
        retriever = partial(AnseriniRetriever, indexes.path(self.words), rm3=True)
        return pt.Transformer.identity(), search(retriever, exclude_own=exclude_own)

    def qd_flops(self, indexes: Indexes, queries: Sequence[str]) -> float:
        """Adds what both searches cost."""
        return super().qd_flops(indexes, queries) + self._flops(indexes, queries, rm3=True)


def _write_texts(documents: Iterable[Mapping[str, str]], path: Path) -> int:
    """Writes documents that are not empty as Anserini reads them, and returns how many there are."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for document in documents:
            if document["text"].strip(_JAVA_BLANKS):
                file.write(json.dumps({"id": document["docno"], "contents": document["text"]}) + "\n")
                count += 1
    return count
