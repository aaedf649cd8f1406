"""Terrier's BM25 and RM3."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import pyterrier as pt

from pyterrier_saesplade.evaluation.systems.base import ArtifactCache, IndexedSystem, System
from pyterrier_saesplade.evaluation.systems.kinds import Given, system_kind
from pyterrier_saesplade.evaluation.systems.languages import language_of
from pyterrier_saesplade.evaluation.systems.stages import NUM_RESULTS, ResetQueries, RewriteQueries, search
from pyterrier_saesplade.metrics import qd_flops

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BM25_K1, BM25_B = 0.9, 0.4


class Bm25(IndexedSystem):
    """Terrier's BM25 over stemmed words, with k1 = 0.9 and b = 0.4, the usual baseline of learned sparse retrieval.

    Stop words are only removed in English, because Terrier has no lists for other languages.

    Args:
        language: The language of documents and queries, as two letters.

    Raises:
        SettingError: If the language is not supported.
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
        """The tokeniser, which also decides on stop words, and the stemmer."""
        return f"terrier words, {self._tokeniser}, {self._stemmer}"

    def build(self, artifacts: ArtifactCache, path: Path) -> None:
        """Indexes the words of the corpus."""
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
        """Returns an identity transformer, and a retriever. It removes punctuation, which Terrier would parse."""
        retrieve = search(partial(self.bm25, artifacts), ignore_identical_ids=ignore_identical_ids)
        return pt.Transformer.identity(), self.tokenise() >> retrieve

    def tokenise(self) -> pt.Transformer:
        """Returns a transformer that tokenises queries like documents."""
        stage: pt.Transformer = pt.rewrite.tokenise(self._tokeniser)
        return stage

    def bm25(self, artifacts: ArtifactCache, num_results: int = NUM_RESULTS) -> pt.Transformer:
        """Returns Terrier's retriever, which reranks if it is given results."""
        return self.terrier(artifacts).bm25(k1=BM25_K1, b=BM25_B, num_results=num_results)

    def scorer(self, artifacts: ArtifactCache) -> pt.Transformer:
        """Returns Terrier's retriever, which scores given results."""
        pipeline: pt.Transformer = self.tokenise() >> self.bm25(artifacts) >> ResetQueries()
        return pipeline

    def terrier(self, artifacts: ArtifactCache) -> pt.terrier.TerrierIndex:
        """Returns Terrier's index."""
        return pt.terrier.TerrierIndex(str(artifacts.path(self)))

    def qd_flops(self, artifacts: ArtifactCache, queries: Sequence[str]) -> float:
        """Counts the words that remain after stopping and stemming and that occur in the index."""
        index = self.terrier(artifacts).index_obj()
        stop_words = pt.java.autoclass("org.terrier.terms.Stopwords")(None) if self._english else None
        stem = pt.java.autoclass(f"org.terrier.terms.{self._stemmer}")(None).stem if self._stemmer else str
        query_df: Counter[str] = Counter()
        for query in self.tokenise().transform(pt.new.queries(list(queries)))["query"]:
            query_df.update({stem(word) for word in query.split() if not (stop_words and stop_words.isStopword(word))})
        return flops_of_words(index, query_df, len(queries))


class Rm3(System):
    """BM25 with Terrier's RM3: a second search with queries expanded by words of the first results.

    Args:
        language: As for :class:`Bm25`.
    """

    name = "rm3"
    note = "rm3: bm25, with queries expanded by 10 words of the first 3 documents, by Terrier's RM3"

    def __init__(self, language: str = "en") -> None:
        self.words = Bm25(language)
        self.searched = (self.words,)

    def stages(
        self, artifacts: ArtifactCache, *, ignore_identical_ids: bool = False
    ) -> tuple[pt.Transformer, pt.Transformer]:
        """Returns an identity transformer, and a pipeline of both searches that restores the original queries."""
        _, first = self.words.stages(artifacts, ignore_identical_ids=ignore_identical_ids)
        again = search(partial(self.words.bm25, artifacts), ignore_identical_ids=ignore_identical_ids)
        return pt.Transformer.identity(), first >> self._rm3(artifacts) >> again >> ResetQueries()

    def scorer(self, artifacts: ArtifactCache) -> pt.Transformer:
        """Returns a pipeline that scores results with the expanded queries."""
        bm25 = self.words.bm25(artifacts)
        rewritten = self.words.tokenise() >> RewriteQueries(bm25 >> self._rm3(artifacts))
        pipeline: pt.Transformer = rewritten >> bm25 >> ResetQueries()
        return pipeline

    def qd_flops(self, artifacts: ArtifactCache, queries: Sequence[str]) -> float:
        """Adds the costs of both searches."""
        _, first = self.words.stages(artifacts)
        rewriting = first >> self._rm3(artifacts)
        rewritten = rewriting.transform(pt.new.queries(list(queries)))["query"]
        query_df: Counter[str] = Counter()
        for query in rewritten:  # "applypipeline:off WORD^WEIGHT …", with stemmed words
            query_df.update(word.rpartition("^")[0] for word in query.split()[1:])
        index = self.words.terrier(artifacts).index_obj()
        return self.words.qd_flops(artifacts, queries) + flops_of_words(index, query_df, len(queries))

    def _rm3(self, artifacts: ArtifactCache) -> pt.Transformer:
        rm3: pt.Transformer = self.words.terrier(artifacts).rm3(fb_terms=10, fb_docs=3)
        return rm3


def flops_of_words(index: Any, query_df: Counter[str], n_queries: int) -> float:
    """Returns the QD-FLOPs of queries on an index of Terrier, from the number of queries that contain each term."""
    lexicon = index.getLexicon()
    entries = ((count, lexicon.getLexiconEntry(word)) for word, count in query_df.items())
    known = [(count, entry.getDocumentFrequency()) for count, entry in entries if entry is not None]
    n_docs = index.getCollectionStatistics().getNumberOfDocuments()
    return qd_flops([count for count, _ in known], n_queries, [df for _, df in known], n_docs)


@system_kind("bm25", help="Terrier's BM25, with k1 = 0.9 and b = 0.4")
def _bm25(given: Given) -> System:
    return Bm25(given.language)


@system_kind("rm3", help="``bm25`` with Terrier's RM3")
def _rm3(given: Given) -> System:
    return Rm3(given.language)
