"""Terrier's BM25 over words, and its RM3."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyterrier as pt

from pyterrier_saesplade.evaluation.systems.base import ArtifactCache, IndexedSystem, System
from pyterrier_saesplade.evaluation.systems.kinds import Given, system_kind
from pyterrier_saesplade.evaluation.systems.languages import language_of
from pyterrier_saesplade.evaluation.systems.stages import NUM_RESULTS, ResetQueries, RewriteQueries, search
from pyterrier_saesplade.metrics import qd_flops

if TYPE_CHECKING:
    pass

_log = logging.getLogger(__name__)

BM25_K1, BM25_B = 0.9, 0.4


class Bm25(IndexedSystem):
    """Terrier's BM25 over stemmed words, with k1 = 0.9 and b = 0.4, the usual baseline of learned sparse retrieval.

    Stop words are left out in English alone: Terrier has no others.

    Args:
        language: That of documents and queries, two letters.

    Raises:
        ValueError: If words of that language are not told apart here.
    """

    name = "bm25"

    def __init__(self, language: str = "en") -> None:
        self._stemmer = language_of(language).terrier
        self._english = language == "en"
        self._tokeniser = "english" if self._english else "utf"
        words = "Porter stemmer, Terrier's stop words" if self._english else f"stemmer {self._stemmer}, no stop words"
        self.note = f"bm25: Terrier's, k1 {BM25_K1}, b {BM25_B}, {words}, title and text together"

    @property
    def identity(self) -> str:
        """How words are told apart, stemmed and left out."""
        return f"terrier words, {self._tokeniser}, {self._stemmer}"

    def build(self, artifacts: ArtifactCache, path: Path) -> None:
        """ArtifactCache the words of the corpus."""
        indexer = pt.terrier.TerrierIndex(str(path)).indexer(
            meta={"docno": artifacts.corpus.docno_length},
            tokeniser=self._tokeniser,
            stemmer=self._stemmer,
            stopwords="terrier" if self._english else None,
        )
        indexer.index(artifacts.corpus.documents())

    def stages(
        self, artifacts: ArtifactCache, *, ignore_identical_ids: bool = False
    ) -> tuple[pt.Transformer, pt.Transformer]:
        """Nothing to encode; punctuation, syntax in Terrier's query language, is taken out before retrieval."""
        retrieve = search(partial(self.bm25, artifacts), ignore_identical_ids=ignore_identical_ids)
        return pt.Transformer.identity(), self.tokenise() >> retrieve

    def tokenise(self) -> pt.Transformer:
        """Returns what makes words of queries, as of documents."""
        stage: pt.Transformer = pt.rewrite.tokenise(self._tokeniser)
        return stage

    def bm25(self, artifacts: ArtifactCache, num_results: int = NUM_RESULTS) -> pt.Transformer:
        """Returns Terrier's retriever; given results, it scores these."""
        return self.terrier(artifacts).bm25(k1=BM25_K1, b=BM25_B, num_results=num_results)

    def scorer(self, artifacts: ArtifactCache) -> pt.Transformer:
        """Terrier's retriever, which scores the results that it is given."""
        pipeline: pt.Transformer = self.tokenise() >> self.bm25(artifacts) >> ResetQueries()
        return pipeline

    def terrier(self, artifacts: ArtifactCache) -> pt.terrier.TerrierIndex:
        """Returns the plain index."""
        return pt.terrier.TerrierIndex(str(artifacts.path(self)))

    def qd_flops(self, artifacts: ArtifactCache, queries: Sequence[str]) -> float:
        """Counts words after stopping and stemming, which the documents of the index hold."""
        index = self.terrier(artifacts).index_obj()
        stop_words = pt.java.autoclass("org.terrier.terms.Stopwords")(None) if self._english else None
        stem = pt.java.autoclass(f"org.terrier.terms.{self._stemmer}")(None).stem if self._stemmer else str
        query_df: Counter[str] = Counter()
        for query in self.tokenise().transform(pt.new.queries(list(queries)))["query"]:
            query_df.update({stem(word) for word in query.split() if not (stop_words and stop_words.isStopword(word))})
        return flops_of_words(index, query_df, len(queries))


class Rm3(System):
    """BM25 twice: the second query has words of the documents that the first found, by Terrier's RM3.

    Args:
        language: As for :class:`Bm25`.
    """

    name = "rm3"
    note = "rm3: bm25, whose queries take up 10 words of the first 3 documents, by Terrier's RM3"

    def __init__(self, language: str = "en") -> None:
        self.words = Bm25(language)
        self.searched = (self.words,)

    def stages(
        self, artifacts: ArtifactCache, *, ignore_identical_ids: bool = False
    ) -> tuple[pt.Transformer, pt.Transformer]:
        """Nothing to encode; the queries as they were asked are put back at the end."""
        _, first = self.words.stages(artifacts, ignore_identical_ids=ignore_identical_ids)
        again = search(partial(self.words.bm25, artifacts), ignore_identical_ids=ignore_identical_ids)
        return pt.Transformer.identity(), first >> self._rm3(artifacts) >> again >> ResetQueries()

    def scorer(self, artifacts: ArtifactCache) -> pt.Transformer:
        """Scores results by the queries that RM3 makes."""
        bm25 = self.words.bm25(artifacts)
        rewritten = self.words.tokenise() >> RewriteQueries(bm25 >> self._rm3(artifacts))
        pipeline: pt.Transformer = rewritten >> bm25 >> ResetQueries()
        return pipeline

    def qd_flops(self, artifacts: ArtifactCache, queries: Sequence[str]) -> float:
        """Adds what both searches cost."""
        _, first = self.words.stages(artifacts)
        rewriting = first >> self._rm3(artifacts)
        rewritten = rewriting.transform(pt.new.queries(list(queries)))["query"]
        query_df: Counter[str] = Counter()
        for query in rewritten:  # "applypipeline:off WORD^WEIGHT …", the words stemmed
            query_df.update(word.rpartition("^")[0] for word in query.split()[1:])
        index = self.words.terrier(artifacts).index_obj()
        return self.words.qd_flops(artifacts, queries) + flops_of_words(index, query_df, len(queries))

    def _rm3(self, artifacts: ArtifactCache) -> pt.Transformer:
        rm3: pt.Transformer = self.words.terrier(artifacts).rm3(fb_terms=10, fb_docs=3)
        return rm3


def flops_of_words(index: Any, query_df: Counter[str], n_queries: int) -> float:
    """Returns the QD-FLOPs of queries on one of Terrier's artifacts, of how many queries hold each of its terms."""
    lexicon = index.getLexicon()
    entries = ((count, lexicon.getLexiconEntry(word)) for word, count in query_df.items())
    known = [(count, entry.getDocumentFrequency()) for count, entry in entries if entry is not None]
    n_docs = index.getCollectionStatistics().getNumberOfDocuments()
    return qd_flops([count for count, _ in known], n_queries, [df for _, df in known], n_docs)


@system_kind("bm25", help="Terrier's BM25, k1 0.9 and b 0.4")
def _bm25(given: Given) -> System:
    return Bm25(given.language)


@system_kind("rm3", help="``bm25`` with Terrier's RM3")
def _rm3(given: Given) -> System:
    return Rm3(given.language)
