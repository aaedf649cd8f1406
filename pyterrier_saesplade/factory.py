"""What every model that users hold is: a transformer, and a maker of transformers and indexes."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pyterrier as pt

from pyterrier_saesplade.checks import require_same_model
from pyterrier_saesplade.engines import ConceptIndex, ConceptIndexer, open_index
from pyterrier_saesplade.impacts import LatentStatistics, Pruning, Quantization, Terms
from pyterrier_saesplade.pipeline import DOCS, ConceptFeedback, DocEncoder, QueryEncoder, Scorer
from pyterrier_saesplade.types import Side, Weighting
from pyterrier_saesplade.vectors import ConceptVectors


class ModelFactory(pt.Transformer, ABC):
    """A model as a transformer, which picks its role by the columns that arrive, and makes others.

    ===================================================  =================  ========================================
    columns                                              role               what is added
    ===================================================  =================  ========================================
    ``qid``, ``query`` (or ``query_toks``) and           :meth:`scorer`     ``score`` and ``rank``
    ``text`` (or ``toks``)
    ``query``                                            query_encoder      ``query_toks``, floats
    ``text``                                             doc_encoder        ``toks``, integers
    ===================================================  =================  ========================================

    Attributes:
        verbose: Whether the transformers show progress, unless told otherwise.
    """

    verbose: bool

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Identifies the vectors of documents (hexadecimal)."""

    @property
    @abstractmethod
    def weighting(self) -> Weighting:
        """What an index multiplies queries by."""

    @property
    @abstractmethod
    def terms(self) -> Terms:
        """The names of the latents."""

    @abstractmethod
    def encode(
        self,
        texts: Sequence[str | None],
        side: Side = "doc",
        *,
        k: int | None = None,
        verbose: bool | None = None,
    ) -> ConceptVectors:
        """Encodes texts."""

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Encodes queries, encodes documents, or scores results: see the class.

        Raises:
            InputValidationError: If the columns fit none of these.
        """
        with pt.validate.any(inp) as v:
            v.query_frame(extra_columns=["query"], mode="query_encoder")
            v.document_frame(extra_columns=["text"], mode="doc_encoder")
            for query in ("query_toks", "query"):
                for document in ("toks", "text"):
                    v.columns(includes=["qid", query, document], mode="scorer")
            v.columns(includes=["query"], mode="query_encoder")
            v.columns(includes=["text"], mode="doc_encoder")
        result: pd.DataFrame = getattr(self, v.mode)().transform(inp)
        return result

    def subtransformers(self) -> dict[str, pt.Transformer]:
        """Returns none: a model is drawn as one box."""
        return {}

    @property
    def schematic(self) -> dict[str, Any]:
        """How notebooks draw the model. The help page is named, for PyTerrier would look for it online."""
        name = type(self).__name__
        return {"label": name, "help_url": f"{DOCS}#pyterrier_saesplade.{name}"}

    def as_query(self, documents: ConceptVectors) -> ConceptVectors:
        """Returns vectors of documents as if they were those of queries, the same unless the sides differ."""
        return documents

    def doc_encoder(
        self,
        *,
        scale: float | None = Quantization.scale,
        k: int | None = None,
        text_field: str = "text",
        batch_size: int = 1024,
        verbose: bool | None = None,
    ) -> DocEncoder:
        """Returns a stage that adds ``toks``: integers for any indexer, or floats with ``scale=None``.

        Examples:
            >>> pipeline = model.doc_encoder() >> pt.terrier.TerrierIndex("own.terrier").toks_indexer()
            >>> index = pipeline.index(documents)
        """
        return DocEncoder(
            self,
            scale=scale,
            k=k,
            text_field=text_field,
            batch_size=batch_size,
            verbose=self._wants_progress(verbose),
        )

    def query_encoder(
        self,
        *,
        scale: float | None = None,
        k: int | None = None,
        batch_size: int = 1024,
        verbose: bool | None = None,
    ) -> QueryEncoder:
        """Returns a stage that adds ``query_toks``: floats for ``index.retriever()``, or integers at ``scale``.

        Examples:
            >>> pipeline = model.query_encoder() >> index.retriever(num_results=3)
            >>> pipeline.search("young cat").columns.tolist()
            ['qid', 'query', 'query_toks', 'docno', 'score', 'rank']
        """
        return QueryEncoder(self, scale=scale, k=k, batch_size=batch_size, verbose=self._wants_progress(verbose))

    def scorer(
        self,
        *,
        statistics: ConceptIndex | LatentStatistics | str | os.PathLike[str] | None = None,
        text_field: str = "text",
        toks_scale: float = Quantization.scale,
        batch_size: int = 1024,
        verbose: bool | None = None,
    ) -> Scorer:
        """Returns a stage that re-ranks by dot products; ``statistics`` (an index, or its folder) weights queries.

        Raises:
            FileNotFoundError: If there is no such folder.
            ValueError: If another model built the index, or this one with other document-side settings.

        Examples:
            >>> pipeline = bm25 >> dataset.text_loader() >> model.scorer(statistics=index)
            >>> sorted(pipeline.search("river bank")["docno"])
            ['d1', 'd10', 'd2', 'd8']
        """
        return Scorer(
            self,
            statistics=self._statistics(statistics),
            text_field=text_field,
            toks_scale=toks_scale,
            batch_size=batch_size,
            verbose=self._wants_progress(verbose),
        )

    def feedback(
        self,
        documents: int = 3,
        *,
        concepts: int = 32,
        beta: float = 0.3,
        statistics: ConceptIndex | LatentStatistics | str | os.PathLike[str] | None = None,
        text_field: str = "text",
        toks_scale: float = Quantization.scale,
        batch_size: int = 1024,
        verbose: bool | None = None,
    ) -> ConceptFeedback:
        """Returns a stage from results to new queries, with concepts of the first documents.

        Raises:
            FileNotFoundError: If there is no such folder.
            ValueError: If another model built the index, or this one with other document-side settings.

        Examples:
            >>> first = model.retriever(index, num_results=3) >> dataset.text_loader()
            >>> pipeline = first >> model.feedback(statistics=index) >> index.retriever()
            >>> pipeline.search("young cat").columns.tolist()
            ['qid', 'query', 'query_toks', 'docno', 'score', 'rank']
        """
        return ConceptFeedback(
            self,
            documents,
            concepts=concepts,
            beta=beta,
            statistics=self._statistics(statistics),
            text_field=text_field,
            toks_scale=toks_scale,
            batch_size=batch_size,
            verbose=self._wants_progress(verbose),
        )

    # ------------------------------------------------------------------ indexes

    def indexer(
        self,
        path: str | os.PathLike[str],
        engine: str | type[ConceptIndex] = "terrier",
        *,
        engine_options: Mapping[str, Any] | None = None,
        quantization: Quantization | None = None,
        pruning: Pruning | None = None,
        max_df: float | None = None,
        text_field: str = "text",
        batch_size: int = 4096,
        overwrite: bool = False,
        verbose: bool | None = None,
    ) -> ConceptIndexer:
        """Returns an indexer of texts; see :class:`~pyterrier_saesplade.engines.indexer.ConceptIndexer`.

        Examples:
            >>> index = model.indexer("concepts.index").index(dataset.get_corpus_iter())
            >>> len(index)
            12
        """
        return ConceptIndexer(
            self,
            path,
            engine,
            engine_options=engine_options,
            quantization=quantization,
            pruning=pruning,
            max_df=max_df,
            text_field=text_field,
            batch_size=batch_size,
            overwrite=overwrite,
            verbose=self._wants_progress(verbose),
        )

    def retriever(
        self,
        index: ConceptIndex | str | os.PathLike[str],
        num_results: int = 1000,
        *,
        weighting: Weighting | None = None,
        verbose: bool | None = None,
    ) -> pt.Transformer:
        """Returns a pipeline from ``query`` to results: :meth:`query_encoder`, then the index's retriever.

        Queries are encoded in any case; those that are encoded already go to ``index.retriever()``.

        Args:
            index: An index that this model built, or its folder.
            num_results: Documents per query at most.
            weighting: ``"idf"`` or ``"none"``, in place of the index's own.
            verbose: Whether to show progress; ``None``: as the model does.

        Raises:
            FileNotFoundError: If there is no such folder.
            ValueError: If another model built the index, or this one with other document-side settings.
        """
        search = self._built(index).retriever(num_results, weighting=weighting, verbose=self._wants_progress(verbose))
        return self.query_encoder(verbose=verbose) >> search

    def _statistics(
        self, given: ConceptIndex | LatentStatistics | str | os.PathLike[str] | None
    ) -> ConceptIndex | LatentStatistics | None:
        return given if given is None or isinstance(given, LatentStatistics) else self._built(given)

    def _built(self, index: ConceptIndex | str | os.PathLike[str]) -> ConceptIndex:
        """Returns an index that this model built, open."""
        index = index if isinstance(index, ConceptIndex) else open_index(index)
        require_same_model(
            f"{index.path}, built with {index.metadata['model']},",
            index.fingerprint,
            repr(self),
            self.fingerprint,
            "search with the model that built the index, with the same k and doc_max_length, or index the documents "
            "again with this model",
        )
        return index

    def _wants_progress(self, verbose: bool | None) -> bool:
        return self.verbose if verbose is None else verbose
