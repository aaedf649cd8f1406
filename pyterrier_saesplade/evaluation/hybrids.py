"""Systems made of others: words and concepts together, and queries that take up concepts of what they found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pyterrier as pt
import pyterrier_alpha as pta

from pyterrier_saesplade.collections import passages_of
from pyterrier_saesplade.encoding.vectors import ConceptVectors
from pyterrier_saesplade.engines.build import open_index
from pyterrier_saesplade.engines.terrier import TerrierConceptIndex
from pyterrier_saesplade.evaluation.languages import language_of
from pyterrier_saesplade.evaluation.stages import NUM_RESULTS, AsAsked, TextLoader, search
from pyterrier_saesplade.evaluation.systems import (
    Bm25,
    Concepts,
    Index,
    Indexes,
    System,
    Vectors,
    flops_of,
    query_length_of,
)
from pyterrier_saesplade.hybrid import WordsAndConcepts, check_balance
from pyterrier_saesplade.impacts.toks import from_toks
from pyterrier_saesplade.impacts.words import Words, find_stemmer
from pyterrier_saesplade.metrics import qd_flops
from pyterrier_saesplade.pipeline import Normalise
from pyterrier_saesplade.saesplade import SaeSplade
from pyterrier_saesplade.store.reader import StoredVectors


class WordsConcepts(Index):
    """Words and concepts in one Terrier index: one dot product, one query.

    Args:
        model: The model of the concepts.
        balance: What the words of queries are multiplied by; ``None``: told from the documents.
        language: That of documents and queries, two letters.
        name: What the line is called.

    Raises:
        ImportError: If PyStemmer is not installed.
        ValueError: If ``balance`` is no number of at least 0, or words of that language are not told apart here.
    """

    def __init__(
        self, model: SaeSplade, balance: float | None = None, language: str = "en", name: str = "words+concepts"
    ) -> None:
        if balance is not None:
            check_balance(balance)
        self._language = language_of(language).words
        find_stemmer(self._language)
        self.name = name
        self.model = model
        self.balance = balance
        self.vectors = Vectors(model)
        self.parts = (self.vectors,)
        chosen = "told from the documents" if balance is None else f"{balance:g}"
        self.note = f"{self.name}: BM25's words beside the concepts of {model!r} in one Terrier index, balance {chosen}"

    @property
    def identity(self) -> str:
        """The model's fingerprint, the defaults that an index is built with, and what is kept with the index."""
        built = f"{TerrierConceptIndex.default_quantization}, weighting {self.model.weighting}"
        return f"terrier words and concepts {self.model.fingerprint}, {built}, {self._language}, {self.balance}"

    @property
    def settings(self) -> list[str]:
        """The length of queries too, which is not part of a fingerprint."""
        return [*super().settings, query_length_of(self.model)]

    def build(self, indexes: Indexes, path: Path) -> None:
        """Counts words, and puts them beside the vectors of the concepts."""
        path.mkdir()
        corpus = indexes.corpus
        both = WordsAndConcepts.fit(self.model, corpus.documents(), balance=self.balance, language=self._language)
        both.save(path / "words.json")
        store = StoredVectors(indexes.path(self.vectors))
        both.indexer(path / "index").index_vectors(_with_words(store, corpus.documents(), both.words))

    def stages(self, indexes: Indexes, *, exclude_own: bool = False) -> tuple[pt.Transformer, pt.Transformer]:
        """The encoder of both, and Terrier."""
        path = indexes.path(self)
        retrieve = search(open_index(path / "index").retriever, exclude_own=exclude_own)
        return self._model(path).query_encoder(), retrieve

    def qd_flops(self, indexes: Indexes, queries: Sequence[str]) -> float:
        """Counts words and latents."""
        path = indexes.path(self)
        return flops_of(self._model(path), open_index(path / "index"), queries)

    def _model(self, path: Path) -> WordsAndConcepts:
        return WordsAndConcepts.load(path / "words.json", self.model)


def _with_words(
    store: StoredVectors, documents: Iterator[dict[str, str]], words: Words
) -> Iterator[tuple[list[str], ConceptVectors]]:
    for docnos, vectors in store.windows():
        texts = [document["text"] for document in islice(documents, len(docnos))]
        yield docnos, vectors.beside(words.documents(texts), len(store.terms))


class Fused(System):
    """BM25 and a model, each over its own index, fused.

    Args:
        model: The model.
        how: ``"sum"`` of scores, each query's taken to lie from 0 to 1, or ``"rrf"``, the sum of reciprocal ranks.
        language: That of documents and queries, two letters.
    """

    encodes_apart = False

    def __init__(self, model: SaeSplade, how: str, language: str = "en") -> None:
        self.name = how
        self.systems: tuple[Bm25, Concepts] = (Bm25(language), Concepts("saesplade", model))
        self.searched = self.systems
        of = "scores, normalised by query," if how == "sum" else "reciprocal ranks (k = 60)"
        self.note = f"{how}: sum of {of} of bm25 and of {model!r}, {NUM_RESULTS:,} results each"

    @property
    def settings(self) -> list[str]:
        """Those of both."""
        return [setting for system in self.systems for setting in system.settings]

    def stages(self, indexes: Indexes, *, exclude_own: bool = False) -> tuple[pt.Transformer, pt.Transformer]:
        """Encoding is within the fusion."""
        parts = []
        for system in self.systems:
            encode, retrieve = system.stages(indexes, exclude_own=exclude_own)
            # Fusion takes two rows for one document if their queries differ, as BM25's do once they are tokenised.
            parts.append(encode >> retrieve >> AsAsked())
        if self.name == "rrf":
            return pt.Transformer.identity(), pta.fusion.RRFusion(*parts, num_results=NUM_RESULTS)
        fused = ((parts[0] >> Normalise()) + (parts[1] >> Normalise())) % NUM_RESULTS
        return pt.Transformer.identity(), fused

    def qd_flops(self, indexes: Indexes, queries: Sequence[str]) -> float:
        """Adds what both searches cost."""
        return sum(system.qd_flops(indexes, queries) for system in self.systems)


class Feedback(System):
    """A model whose queries take up concepts of the first documents that they find.

    Args:
        model: The model.
    """

    name = "feedback"

    def __init__(self, model: SaeSplade) -> None:
        self.first = Concepts("saesplade", model)
        self.searched = (self.first,)
        self.model = model
        self.note = f"feedback: {model!r}, queries with up to 32 concepts of the first 3 documents, their texts encoded"

    @property
    def settings(self) -> list[str]:
        """Those of the model."""
        return self.first.settings

    def stages(self, indexes: Indexes, *, exclude_own: bool = False) -> tuple[pt.Transformer, pt.Transformer]:
        """The query encoder; then two searches, and the encoding of documents between them."""
        encode, again = self.first.stages(indexes, exclude_own=exclude_own)
        return encode, self._expansion(indexes, exclude_own=exclude_own) >> again

    def qd_flops(self, indexes: Indexes, queries: Sequence[str]) -> float:
        """Adds what both searches cost."""
        index = open_index(indexes.path(self.first))
        statistics = index.statistics
        expansion = self.model.query_encoder() >> self._expansion(indexes)
        expanded = expansion.transform(pt.new.queries(list(queries)))["query_toks"]
        query_df = np.bincount(from_toks(expanded, index.terms).latents, minlength=len(statistics.df))
        second = qd_flops(query_df, len(queries), statistics.df, statistics.n_docs)
        return self.first.qd_flops(indexes, queries) + second

    def _expansion(self, indexes: Indexes, *, exclude_own: bool = False) -> pt.Transformer:
        index = open_index(indexes.path(self.first))
        stage = self.model.feedback(statistics=index)
        texts = TextLoader(passages_of(indexes.corpus.collection))
        first = search(index.retriever, stage.documents, exclude_own=exclude_own)
        expansion: pt.Transformer = first >> texts >> stage
        return expansion
