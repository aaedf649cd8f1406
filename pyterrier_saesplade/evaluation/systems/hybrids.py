"""Combined systems: words and concepts in one index, fusion, and pseudo-relevance feedback."""

from __future__ import annotations

from functools import reduce
from itertools import islice
from operator import add
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyterrier as pt
import pyterrier_alpha as pta

from pyterrier_saesplade.engines import TerrierConceptIndex, open_index
from pyterrier_saesplade.evaluation.systems.base import ArtifactCache, IndexedSystem, System
from pyterrier_saesplade.evaluation.systems.concepts import ConceptSystem, EncodedCorpus, flops_of, query_length_of
from pyterrier_saesplade.evaluation.systems.kinds import Given, system_kind
from pyterrier_saesplade.evaluation.systems.languages import language_of
from pyterrier_saesplade.evaluation.systems.stages import NUM_RESULTS, ResetQueries, TextLoader, search
from pyterrier_saesplade.evaluation.systems.words import Bm25
from pyterrier_saesplade.hybrid import WordsAndConcepts, check_balance
from pyterrier_saesplade.impacts import Words, find_stemmer, from_toks
from pyterrier_saesplade.metrics import qd_flops
from pyterrier_saesplade.pipeline import Normalise, Standardise
from pyterrier_saesplade.store import StoredVectors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pyterrier_saesplade.saesplade import SaeSplade
    from pyterrier_saesplade.vectors import ConceptVectors


class WordsConcepts(IndexedSystem):
    """Words and concepts in one Terrier index, searched with one query and scored by one dot product.

    Args:
        model: The model of the concepts.
        balance: The factor that multiplies the weights of words in queries; ``None`` to derive it from the documents.
        language: The language of documents and queries, as two letters.
        name: The name of the row.

    Raises:
        MissingPackageError: If PyStemmer is not installed.
        SettingError: If ``balance`` is negative or not a number, or the language is not supported.
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
        self.vectors = EncodedCorpus(model)
        self.built_from = (self.vectors,)
        chosen = "derived from the documents" if balance is None else f"{balance:g}"
        self.note = f"{self.name}: BM25 words and the concepts of {model!r} in one Terrier index, balance {chosen}"

    @property
    def identity(self) -> str:
        """The model's fingerprint, the defaults for building an index, the stemmer and the balance."""
        built = f"{TerrierConceptIndex.default_quantization}, weighting {self.model.weighting}"
        return f"terrier words and concepts {self.model.fingerprint}, {built}, {self._language}, {self.balance}"

    @property
    def settings(self) -> list[str]:
        """The identity, and the maximum length of queries, which is not part of a fingerprint."""
        return [*super().settings, query_length_of(self.model)]

    def build(self, artifacts: ArtifactCache, path: Path) -> None:
        """Counts words, and indexes them together with the concepts."""
        path.mkdir()
        corpus = artifacts.corpus
        both = WordsAndConcepts.fit(self.model, corpus.documents(), balance=self.balance, language=self._language)
        both.save(path / "words.json")
        store = StoredVectors(artifacts.path(self.vectors))
        both.indexer(path / "index").index_vectors(_with_words(store, corpus.documents(), both.words))

    def stages(
        self, artifacts: ArtifactCache, *, ignore_identical_ids: bool = False
    ) -> tuple[pt.Transformer, pt.Transformer]:
        """Returns the encoder of words and concepts, and Terrier's retriever."""
        path = artifacts.path(self)
        retrieve = search(open_index(path / "index").retriever, ignore_identical_ids=ignore_identical_ids)
        return self._model(path).query_encoder(), retrieve

    def scorer(self, artifacts: ArtifactCache) -> pt.Transformer:
        """Returns a pipeline that encodes the texts of results, and weights queries like the index."""
        path = artifacts.path(self)
        statistics = path / "index" if self.model.weighting == "idf" else None
        scorer = self._model(path).scorer(statistics=statistics)
        pipeline: pt.Transformer = TextLoader(artifacts.corpus.passages()) >> scorer
        return pipeline

    def qd_flops(self, artifacts: ArtifactCache, queries: Sequence[str]) -> float:
        """Counts words and latents."""
        path = artifacts.path(self)
        return flops_of(self._model(path), open_index(path / "index"), queries)

    def _model(self, path: Path) -> WordsAndConcepts:
        return WordsAndConcepts.load(path / "words.json", self.model)


def _with_words(
    store: StoredVectors, documents: Iterator[dict[str, str]], words: Words
) -> Iterator[tuple[list[str], ConceptVectors]]:
    for docnos, vectors in store.batches():
        texts = [document["text"] for document in islice(documents, len(docnos))]
        yield docnos, vectors.hstack(words.documents(texts), len(store.terms))


class Fusion(System):
    """The fusion of several systems, each of which searches its own index.

    Args:
        name: The name of the row.
        systems: The systems.
        how: ``"rrf"`` for the sum of reciprocal ranks, or ``"sum"`` for the sum of scores, scaled to 0..1 per query.
    """

    encodes_apart = False

    def __init__(self, name: str, systems: Sequence[System], how: Literal["rrf", "sum"] = "rrf") -> None:
        self.name = name
        self.systems = systems
        self.how = how
        self.searched = list(dict.fromkeys(artifact for system in systems for artifact in system.searched))
        of = "min-max scores" if how == "sum" else "reciprocal ranks (k = 60)"
        parts = "; ".join(system.note for system in systems)
        self.note = f"{name}: sum of {of}, {NUM_RESULTS:,} results each, of {parts}"

    @property
    def settings(self) -> list[str]:
        """The settings of its systems."""
        return [setting for system in self.systems for setting in system.settings]

    def stages(
        self, artifacts: ArtifactCache, *, ignore_identical_ids: bool = False
    ) -> tuple[pt.Transformer, pt.Transformer]:
        """Returns an identity transformer, and the fusion, which includes encoding."""
        parts = []
        for system in self.systems:
            encode, retrieve = system.stages(artifacts, ignore_identical_ids=ignore_identical_ids)
            # If queries differed, as BM25's tokenised ones do, fusion would not join the rows of a document.
            parts.append(encode >> retrieve >> ResetQueries())
        if self.how == "rrf":
            return pt.Transformer.identity(), pta.fusion.RRFusion(*parts, num_results=NUM_RESULTS)
        fused = reduce(add, [part >> Normalise() for part in parts]) % NUM_RESULTS
        return pt.Transformer.identity(), fused

    def scorer(self, artifacts: ArtifactCache) -> pt.Transformer:
        """Returns a pipeline that adds the scores of its systems, as z-scores per query."""
        scorer: pt.Transformer = reduce(add, [system.scorer(artifacts) >> Standardise() for system in self.systems])
        return scorer

    def qd_flops(self, artifacts: ArtifactCache, queries: Sequence[str]) -> float | None:
        """Adds the costs of all searches; ``None`` if a system has no inverted index."""
        costs = [system.qd_flops(artifacts, queries) for system in self.systems]
        return None if None in costs else sum(cost for cost in costs if cost is not None)


class Feedback(System):
    """A model with pseudo-relevance feedback: queries are expanded with concepts of the first results.

    Args:
        model: The model.
        name: The name of the row.
    """

    def __init__(self, model: SaeSplade, name: str = "feedback") -> None:
        self.name = name
        self.first = ConceptSystem("saesplade", model)
        self.searched = (self.first,)
        self.model = model
        self.note = f"{name}: {model!r}, queries expanded by up to 32 concepts of the texts of the first 3 documents"

    @property
    def settings(self) -> list[str]:
        """The settings of the model."""
        return self.first.settings

    def stages(
        self, artifacts: ArtifactCache, *, ignore_identical_ids: bool = False
    ) -> tuple[pt.Transformer, pt.Transformer]:
        """Returns the query encoder, and a pipeline of two searches with the encoding of documents between them."""
        encode, again = self.first.stages(artifacts, ignore_identical_ids=ignore_identical_ids)
        return encode, self._expansion(artifacts, ignore_identical_ids=ignore_identical_ids) >> again

    def qd_flops(self, artifacts: ArtifactCache, queries: Sequence[str]) -> float:
        """Adds the costs of both searches."""
        index = open_index(artifacts.path(self.first))
        statistics = index.statistics
        expansion = self.model.query_encoder() >> self._expansion(artifacts)
        expanded = expansion.transform(pt.new.queries(list(queries)))["query_toks"]
        query_df = np.bincount(from_toks(expanded, index.terms).latents, minlength=len(statistics.df))
        second = qd_flops(query_df, len(queries), statistics.df, statistics.n_docs)
        return self.first.qd_flops(artifacts, queries) + second

    def _expansion(self, artifacts: ArtifactCache, *, ignore_identical_ids: bool = False) -> pt.Transformer:
        index = open_index(artifacts.path(self.first))
        stage = self.model.feedback(statistics=index)
        texts = TextLoader(artifacts.corpus.passages())
        first = search(index.retriever, stage.documents, ignore_identical_ids=ignore_identical_ids)
        expansion: pt.Transformer = first >> texts >> stage
        return expansion


@system_kind(
    "words+concepts",
    source="MODEL",
    options={"balance": int | float},
    help="BM25 words and the concepts of a model in one index",
)
def _words_and_concepts(given: Given) -> System:
    return WordsConcepts(given.model(), language=given.language, name=given.label, **given.options)


@system_kind("sum", source="MODEL", help="``bm25`` and a model, fused by the sum of min-max normalised scores")
def _sum(given: Given) -> System:
    return Fusion(given.label, _bm25_and_model(given), "sum")


@system_kind("rrf", source="MODEL", help="``bm25`` and a model, fused by reciprocal ranks")
def _rrf(given: Given) -> System:
    return Fusion(given.label, _bm25_and_model(given))


@system_kind("feedback", source="MODEL", help="a model whose queries are expanded with concepts of the first results")
def _feedback(given: Given) -> System:
    return Feedback(given.model(), given.label)


def _bm25_and_model(given: Given) -> list[System]:
    return [Bm25(given.language), ConceptSystem("saesplade", given.model())]
