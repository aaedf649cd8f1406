"""Words and concepts in one vocabulary, so that one index holds both and one dot product sums both."""

from __future__ import annotations

import heapq
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyterrier_saesplade.documents import field
from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.factory import ModelFactory
from pyterrier_saesplade.files import atomic_write, require_new
from pyterrier_saesplade.impacts import LatentStatistics, Terms, Words
from pyterrier_saesplade.saesplade import SaeSplade
from pyterrier_saesplade.types import Side, Weighting
from pyterrier_saesplade.vectors import ConceptVectors

#: Documents that the balance is estimated on, how many of them are taken for queries, and by how many of their words.
_SAMPLE, _QUERIES, _QUERY_WORDS = 1024, 64, 10


class WordsAndConcepts(ModelFactory):
    """A model whose vectors hold words beside concepts: BM25's weights beside those of a SAE-SPLADE or SPLADE model.

    The paper leaves hybrids of exact and of concept matching open; this one needs a single index and a single query. A
    word is called ``w`` + stem in the index (``w:`` + stem beside SPLADE's word pieces), so that a collection may well
    hold the word "c12". Documents have BM25's saturated counts, queries the counts times ``balance``; idf is that of
    the index for words and concepts alike, or, where the index has none, that of the words alone.

    Args:
        model: The model of the concepts.
        words: The words of the collection.
        balance: What the words of queries are multiplied by: 0 leaves the concepts alone. It is on the queries' side,
            so it can be changed without another index.
        verbose: Whether stages made from this model show progress, unless told otherwise.

    Examples:
        >>> both = WordsAndConcepts.fit(model, dataset.get_corpus_iter())
        >>> index = both.indexer("both.exact", "exact").index(dataset.get_corpus_iter())
        >>> both.retriever(index).search("young cat").columns.tolist()
        ['qid', 'query', 'query_toks', 'docno', 'score', 'rank']
    """

    def __init__(self, model: SaeSplade, words: Words, balance: float, *, verbose: bool = False) -> None:
        check_balance(balance)
        self.model = model
        self.words = words
        self.balance = balance
        self.verbose = verbose

    @classmethod
    def fit(
        cls,
        model: SaeSplade,
        documents: Iterable[Mapping[str, Any]],
        *,
        balance: float | None = None,
        language: str = "porter",
        text_field: str = "text",
        verbose: bool = False,
    ) -> WordsAndConcepts:
        """Counts the words of a collection, in one pass.

        Args:
            model: The model of the concepts.
            documents: Dictionaries with ``docno`` and a text.
            balance: See the class. ``None``: such that the scores of words and of concepts differ equally between
                documents, in the mean over 64 queries that are the first words of documents.
            language: The stemmer: a name of PyStemmer's, or ``"none"``.
            text_field: The key of the text.
            verbose: See the class.

        Raises:
            ImportError: If PyStemmer is not installed.
            ValueError: If no document holds a word, one lacks a key, or there are too few to tell the balance.
        """
        sample = _Sample(text_field)
        words = Words.count(sample.of(documents), text_field=text_field, language=language)
        return cls(model, words, _balance(model, words, sample.texts) if balance is None else balance, verbose=verbose)

    @property
    def fingerprint(self) -> str:
        """Identifies the vectors of documents (hexadecimal): the model's, and the words."""
        return sha256(f"{self.model.fingerprint} {self.words.digest}".encode()).hexdigest()

    @property
    def weighting(self) -> Weighting:
        """What an index multiplies queries by: as the model."""
        return self.model.weighting

    @cached_property
    def terms(self) -> Terms:
        """The names: of the latents, then of the words."""
        latents = self.model.terms
        prefix = (
            "w" if latents.pieces is None else "w:"
        )  # word pieces begin with w too, but hold no colon beside a letter
        names = [latents.name(latent) for latent in range(len(latents))] + [prefix + stem for stem in self.words.stems]
        if len(set(names)) < len(names):
            raise SettingError(
                f"a word and a word piece of {self.model!r} have one name: its vocabulary takes no words"
            )
        return Terms(len(names), names)

    def encode(
        self,
        texts: Sequence[str | None],
        side: Side = "doc",
        *,
        k: int | None = None,
        verbose: bool | None = None,
    ) -> ConceptVectors:
        """Encodes texts; see :meth:`SaeSplade.encode`.

        Returns:
            One row per text: its latents, then its words.
        """
        concepts = self.model.encode(texts, side, k=k, verbose=self._wants_progress(verbose))
        words = self.words.documents(texts) if side == "doc" else self._query_words(texts)
        return concepts.hstack(words, len(self.model.terms))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the words and the balance to a JSON file, which :meth:`load` reads; the model is kept on its own.

        Raises:
            FileExistsError: If the file exists.
        """
        path = Path(path)
        require_new(path)
        with atomic_write(path) as partial:
            content = {"balance": self.balance, "words": self.words.to_dict()}
            partial.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str], model: SaeSplade, *, verbose: bool = False) -> WordsAndConcepts:
        """Reads what :meth:`save` wrote, for the same model."""
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        return cls(model, Words(**content["words"]), content["balance"], verbose=verbose)

    def __eq__(self, other: object) -> bool:
        """Holds for equal models, words and balance."""
        return isinstance(other, WordsAndConcepts) and self._settings() == other._settings()

    def __hash__(self) -> int:
        """Agrees with ``==``."""
        return hash(self._settings())

    def __repr__(self) -> str:
        """Returns the constructor's call."""
        return f"WordsAndConcepts({self.model!r}, {self.words!r}, {self.balance:.3g})"

    def as_query(self, documents: ConceptVectors) -> ConceptVectors:
        """Returns vectors of documents with the words weighted as those of queries are."""
        width = len(self.model.terms)
        is_word = documents.latents >= width
        weights = documents.weights.astype(np.float32)
        weights[is_word] *= self._word_weights(documents.latents[is_word] - width)
        return ConceptVectors(documents.indptr, documents.latents, weights).where(weights > 0)

    def _settings(self) -> tuple[SaeSplade, Words, float]:
        return self.model, self.words, self.balance

    def _query_words(self, texts: Sequence[str | None]) -> ConceptVectors:
        queries = self.words.queries(texts)
        weights = self._word_weights(queries.latents) * queries.weights
        return ConceptVectors(queries.indptr, queries.latents, weights).where(weights > 0)

    def _word_weights(self, words: NDArray[np.int32]) -> NDArray[np.float32]:
        """What the words of queries are multiplied by."""
        balance = np.float32(self.balance)
        return self.words.idf()[words] * balance if self.weighting == "none" else np.full(len(words), balance)


def check_balance(balance: float) -> None:
    """Makes sure of a balance.

    Raises:
        ValueError: If it is no number of at least 0.
    """
    if not (isinstance(balance, int | float) and np.isfinite(balance) and balance >= 0):
        raise SettingError(f"balance must be a number of at least 0, not {balance!r}")


class _Sample:
    """Texts of documents chosen by their docnos alone, so that their order does not matter."""

    def __init__(self, text_field: str) -> None:
        self._text_field = text_field
        self._heap: list[tuple[int, str, str]] = []

    def of(self, documents: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        """Yields the documents, and takes some of them."""
        for document in documents:
            text = field(document, self._text_field)
            if text:
                docno = field(document, "docno")
                # The heap's least is what goes first.
                entry = (-zlib.crc32(docno.encode()), docno, text)
                (heapq.heappush if len(self._heap) < _SAMPLE else heapq.heappushpop)(self._heap, entry)
            yield document

    @property
    def texts(self) -> list[str]:
        """The texts taken."""
        return [text for _, _, text in sorted(self._heap, reverse=True)]


def _balance(model: SaeSplade, words: Words, texts: list[str]) -> float:
    """Returns the spread of concept scores over that of word scores, between documents and in the mean over queries."""
    queries = [" ".join(text.split()[:_QUERY_WORDS]) for text in texts[:_QUERIES]]
    concepts, asked = model.encode(texts, "doc", verbose=False), model.encode(queries, "query", verbose=False)
    if model.weighting == "idf":
        statistics = LatentStatistics.empty(len(model.terms))
        statistics.update(concepts)
        asked = statistics.weigh(asked)
    of_words = words.queries(queries)
    weighed = ConceptVectors(of_words.indptr, of_words.latents, of_words.weights * words.idf()[of_words.latents])
    spreads = (
        _spread(asked, concepts, len(model.terms)),
        _spread(weighed, words.documents(texts), len(words)),
    )
    if not min(spreads) > 0:
        raise SettingError(
            "the balance of words and concepts cannot be told from these documents: name one, such as balance=4"
        )
    return spreads[0] / spreads[1]


def _spread(queries: ConceptVectors, documents: ConceptVectors, width: int) -> float:
    scores: NDArray[Any] = (queries.to_csr(width) @ documents.to_csr(width).T).toarray()
    np.fill_diagonal(scores, np.nan)  # a document whose words the query is would say little of others
    return float(np.nanstd(scores, axis=1).mean()) if scores.shape[1] > 1 else 0.0
