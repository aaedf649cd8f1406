"""Combines words and concepts in one vocabulary, so that one index contains both and one dot product sums both."""

from __future__ import annotations

import heapq
import json
import zlib
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyterrier_saesplade.documents import field
from pyterrier_saesplade.errors import DataError, ModelError, SettingError
from pyterrier_saesplade.factory import ModelFactory
from pyterrier_saesplade.files import atomic_write, read_json, require_new
from pyterrier_saesplade.impacts import LatentStatistics, Terms, Words
from pyterrier_saesplade.vectors import ConceptVectors

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from pyterrier_saesplade.saesplade import SaeSplade
    from pyterrier_saesplade.types import Side, Weighting

#: Number of documents that the balance is estimated on, how many of them serve as queries, and with how many words.
_SAMPLE, _QUERIES, _QUERY_WORDS = 1024, 64, 10


class WordsAndConcepts(ModelFactory):
    """A model whose vectors contain both words with BM25 weights and the concepts of a SAE-SPLADE or SPLADE model.

    The paper leaves hybrids of exact and concept matching open. This one needs a single index and a single query. In
    the index, a word is named ``w`` + stem (``w:`` + stem next to SPLADE's word pieces), so that the word "c12" and the
    latent c12 are distinguished. Document weights are BM25's saturated counts; query weights are counts times
    ``balance``. If the index uses idf, it applies to words and concepts alike. Otherwise idf applies to words only.

    Args:
        model: The model of the concepts.
        words: The words of the collection.
        balance: The factor for the words of queries; 0 leaves only concepts. It affects only queries, so that it can be
            changed without rebuilding the index.
        verbose: Whether transformers created from this model show progress by default.

    Raises:
        SettingError: If ``balance`` is not a number of at least 0.

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
        """Counts the words of a collection in one pass.

        Args:
            model: The model of the concepts.
            documents: Dictionaries with ``docno`` and a text.
            balance: See the class. By default, it is chosen so that the scores of words and of concepts vary equally
                between documents, on average over 64 queries that consist of the first words of documents.
            language: The name of a PyStemmer stemmer, or ``"none"``.
            text_field: The key of the text.
            verbose: See the class.

        Raises:
            MissingPackageError: If PyStemmer is not installed.
            DataError: If no document contains a word, a document lacks a key, or there are too few documents to
                estimate the balance.
        """
        sample = _Sample(text_field)
        words = Words.count(sample.of(documents), text_field=text_field, language=language)
        return cls(model, words, _balance(model, words, sample.texts) if balance is None else balance, verbose=verbose)

    @property
    def fingerprint(self) -> str:
        """Identifies the document vectors (hexadecimal): the model and the words."""
        return sha256(f"{self.model.fingerprint} {self.words.digest}".encode()).hexdigest()

    @property
    def weighting(self) -> Weighting:
        """What an index multiplies query weights by; the same as for the model."""
        return self.model.weighting

    @cached_property
    def terms(self) -> Terms:
        """The names of the latents, followed by the names of the words."""
        latents = self.model.terms
        # Word pieces may start with w, but none contains a colon next to a letter.
        prefix = "w" if latents.pieces is None else "w:"
        names = [latents.name(latent) for latent in range(len(latents))] + [prefix + stem for stem in self.words.stems]
        if len(set(names)) < len(names):
            raise ModelError(
                f"a word and a word piece of {self.model!r} have the same name: words cannot be added to its vocabulary"
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
            One row per text: its latents, followed by its words.
        """
        concepts = self.model.encode(texts, side, k=k, verbose=self._wants_progress(verbose))
        words = self.words.documents(texts) if side == "doc" else self._query_words(texts)
        return concepts.hstack(words, len(self.model.terms))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the words and the balance to a JSON file that :meth:`load` reads. The model is not included.

        Raises:
            PathExistsError: If the file exists.
        """
        path = Path(path)
        require_new(path)
        with atomic_write(path) as partial:
            content = {"balance": self.balance, "words": self.words.to_dict()}
            partial.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str], model: SaeSplade, *, verbose: bool = False) -> WordsAndConcepts:
        """Reads the words and the balance that :meth:`save` wrote, for the same model.

        Raises:
            DataError: If the file is damaged, or was not written by :meth:`save`.
        """
        content = read_json(Path(path))
        try:
            words, balance = Words(**content["words"]), content["balance"]
        except (KeyError, TypeError) as error:
            raise DataError(f"{path} was not written by WordsAndConcepts.save: {error}") from error
        return cls(model, words, balance, verbose=verbose)

    def __eq__(self, other: object) -> bool:
        """Returns whether models, words and balances are equal."""
        return isinstance(other, WordsAndConcepts) and self._settings() == other._settings()

    def __hash__(self) -> int:
        """Returns a hash that agrees with ``==``."""
        return hash(self._settings())

    def __repr__(self) -> str:
        """Returns the call of the constructor, with a rounded balance."""
        return f"WordsAndConcepts({self.model!r}, {self.words!r}, {self.balance:.3g})"

    def as_query(self, documents: ConceptVectors) -> ConceptVectors:
        """Returns document vectors with their words weighted like the words of queries."""
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
        """Returns the factors for the words of queries."""
        balance = np.float32(self.balance)
        return self.words.idf()[words] * balance if self.weighting == "none" else np.full(len(words), balance)


def check_balance(balance: float) -> None:
    """Raises a :exc:`SettingError` if the balance is not a finite number of at least 0.

    Examples:
        >>> check_balance(4)
        >>> check_balance(-1)
        Traceback (most recent call last):
        ...
        pyterrier_saesplade.errors.SettingError: balance must be a number of at least 0, not -1
    """
    if not (isinstance(balance, int | float) and np.isfinite(balance) and balance >= 0):
        raise SettingError(f"balance must be a number of at least 0, not {balance!r}")


class _Sample:
    """A sample of documents, chosen by their docnos so that it does not depend on their order."""

    def __init__(self, text_field: str) -> None:
        self._text_field = text_field
        self._heap: list[tuple[int, str, str]] = []

    def of(self, documents: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        """Yields all documents, and samples some of them."""
        for document in documents:
            text = field(document, self._text_field)
            if text:
                docno = field(document, "docno")
                # A full heap drops its smallest entry. The negated checksum keeps the documents with the smallest ones.
                entry = (-zlib.crc32(docno.encode()), docno, text)
                (heapq.heappush if len(self._heap) < _SAMPLE else heapq.heappushpop)(self._heap, entry)
            yield document

    @property
    def texts(self) -> list[str]:
        """The sampled texts."""
        return [text for _, _, text in sorted(self._heap, reverse=True)]


def _balance(model: SaeSplade, words: Words, texts: list[str]) -> float:
    """Returns the spread of concept scores between documents divided by that of word scores, averaged over queries."""
    queries = [" ".join(text.split()[:_QUERY_WORDS]) for text in texts[:_QUERIES]]
    documents, concepts = model.encode(texts, "doc", verbose=False), model.encode(queries, "query", verbose=False)
    if model.weighting == "idf":
        statistics = LatentStatistics.empty(len(model.terms))
        statistics.update(documents)
        concepts = statistics.weigh(concepts)
    counts = words.queries(queries)
    weighted = ConceptVectors(counts.indptr, counts.latents, counts.weights * words.idf()[counts.latents])
    spreads = (
        _spread(concepts, documents, len(model.terms)),
        _spread(weighted, words.documents(texts), len(words)),
    )
    if not min(spreads) > 0:
        raise DataError(
            "the balance of words and concepts cannot be estimated from these documents: choose one, such as balance=4"
        )
    return spreads[0] / spreads[1]


def _spread(queries: ConceptVectors, documents: ConceptVectors, width: int) -> float:
    scores: NDArray[Any] = (queries.to_csr(width) @ documents.to_csr(width).T).toarray()
    np.fill_diagonal(scores, np.nan)  # each query consists of words of one document, whose score says little
    return float(np.nanstd(scores, axis=1).mean()) if scores.shape[1] > 1 else 0.0
