"""The base class of all models: a transformer that also creates transformers, indexers and retrievers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import pyterrier as pt

from pyterrier_saesplade.checks import require_same_model
from pyterrier_saesplade.engines import ConceptIndex, ConceptIndexer, open_index
from pyterrier_saesplade.impacts import LatentStatistics, Pruning, Quantization, Terms
from pyterrier_saesplade.pipeline import ConceptFeedback, DocEncoder, QueryEncoder, Scorer, schematic_of

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from pyterrier_saesplade.types import Side, Weighting
    from pyterrier_saesplade.vectors import ConceptVectors


class ModelFactory(pt.Transformer, ABC):
    """A model as a transformer that chooses its role by the columns of its input, and that creates transformers.

    =================================================  =====================  ====================================
    columns of the input                               role                   columns that are added
    =================================================  =====================  ====================================
    ``qid``, ``query`` (or ``query_toks``) and         :meth:`scorer`         ``score`` and ``rank``
    ``text`` (or ``toks``)
    ``query``                                          :meth:`query_encoder`  ``query_toks`` with floats
    ``text``                                           :meth:`doc_encoder`    ``toks`` with integers
    =================================================  =====================  ====================================

    Attributes:
        verbose: Whether the transformers show progress by default.
    """

    verbose: bool

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Identifies the document vectors (hexadecimal)."""

    @property
    @abstractmethod
    def weighting(self) -> Weighting:
        """What an index multiplies query weights by."""

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
            InputValidationError: If the columns fit none of the roles.

        Examples:
            >>> model.search("young cat").columns.tolist()
            ['qid', 'query', 'query_toks']
            >>> model(pd.DataFrame(documents)).columns.tolist()
            ['docno', 'text', 'toks']
        """
        with pt.validate.any(inp) as v:
            for query in ("query_toks", "query"):  # first, because these may also be the columns of queries
                for document in ("toks", "text"):
                    v.columns(includes=["qid", query, document], mode="scorer")
            v.query_frame(extra_columns=["query"], mode="query_encoder")
            v.document_frame(extra_columns=["text"], mode="doc_encoder")
            v.columns(includes=["query"], mode="query_encoder")
            v.columns(includes=["text"], mode="doc_encoder")
        result: pd.DataFrame = getattr(self, v.mode)().transform(inp)
        return result

    def subtransformers(self) -> dict[str, pt.Transformer]:
        """Returns an empty dictionary: a model is drawn as one box."""
        return {}

    @property
    def schematic(self) -> dict[str, Any]:
        """How notebooks draw the model."""
        return schematic_of(type(self).__name__, type(self).__name__)

    def as_query(self, documents: ConceptVectors) -> ConceptVectors:
        """Returns document vectors as query vectors. They are the same unless the model distinguishes the two sides."""
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
        """Returns a transformer that adds ``toks``: integers for any indexer, or floats with ``scale=None``.

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
        """Returns a transformer that adds ``query_toks``: floats for ``index.retriever()``, or integers with ``scale``.

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
        """Returns a transformer that re-ranks by dot products. ``statistics``, an index or its folder, weights queries.

        Raises:
            PathNotFoundError: If there is no such folder.
            ModelMismatchError: If the index was built with another model or other document-side settings.

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
        """Returns a transformer that expands queries with concepts of their top documents.

        Raises:
            PathNotFoundError: If there is no such folder.
            ModelMismatchError: If the index was built with another model or other document-side settings.

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
        """Returns an indexer for texts; see :class:`~pyterrier_saesplade.engines.indexer.ConceptIndexer`.

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
        """Returns a pipeline from queries to results: :meth:`query_encoder`, then the retriever of the index.

        The pipeline always encodes queries. For queries that are already encoded, use ``index.retriever()``.

        Args:
            index: An index that this model built, or its folder.
            num_results: Maximum number of documents per query.
            weighting: ``"idf"`` or ``"none"``, to override the weighting of the index.
            verbose: Whether to show progress; ``None`` for the setting of the model.

        Raises:
            PathNotFoundError: If there is no such folder.
            ModelMismatchError: If the index was built with another model or other document-side settings.

        Examples:
            >>> model.retriever("my-index", num_results=3).search("young cat")["rank"].tolist()
            [0, 1, 2]
        """
        search = self._built(index).retriever(num_results, weighting=weighting, verbose=self._wants_progress(verbose))
        return self.query_encoder(verbose=verbose) >> search

    def _statistics(
        self, given: ConceptIndex | LatentStatistics | str | os.PathLike[str] | None
    ) -> ConceptIndex | LatentStatistics | None:
        return given if given is None or isinstance(given, LatentStatistics) else self._built(given)

    def _built(self, index: ConceptIndex | str | os.PathLike[str]) -> ConceptIndex:
        """Opens an index, and checks that this model built it."""
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
