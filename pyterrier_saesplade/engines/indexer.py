"""Builds indexes from texts, toks or stored vectors."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyterrier as pt
from more_itertools import chunked

from pyterrier_saesplade.checks import require_positive, require_same_model, require_share
from pyterrier_saesplade.documents import encode_documents, field
from pyterrier_saesplade.engines.anserini import AnseriniConceptIndex
from pyterrier_saesplade.engines.bmp import BmpConceptIndex
from pyterrier_saesplade.engines.exact import ExactConceptIndex
from pyterrier_saesplade.engines.index import ConceptIndex, read_index_metadata, require_options
from pyterrier_saesplade.engines.milvus import MilvusConceptIndex
from pyterrier_saesplade.engines.pisa import PisaConceptIndex
from pyterrier_saesplade.engines.seismic import SeismicConceptIndex
from pyterrier_saesplade.engines.terrier import TerrierConceptIndex
from pyterrier_saesplade.engines.write import INDEX_TYPE, counted, write_index
from pyterrier_saesplade.errors import DataError, PathExistsError, SettingError
from pyterrier_saesplade.impacts import Pruning, Quantization, as_toks, from_float_toks, require_finite
from pyterrier_saesplade.pipeline import schematic_of
from pyterrier_saesplade.store import StoredVectors

if TYPE_CHECKING:
    import os

    from pyterrier_saesplade.protocols import ConceptModel
    from pyterrier_saesplade.vectors import ConceptVectors

ENGINES: dict[str, type[ConceptIndex]] = {
    engine.ARTIFACT_FORMAT: engine
    for engine in (
        TerrierConceptIndex,
        AnseriniConceptIndex,
        PisaConceptIndex,
        BmpConceptIndex,
        SeismicConceptIndex,
        MilvusConceptIndex,
        ExactConceptIndex,
    )
}


def open_index(path: str | os.PathLike[str], **options: Any) -> ConceptIndex:
    """Opens an index of any engine.

    Args:
        path: The folder of the index.
        **options: Search options of the engine: see its class.

    Raises:
        PathNotFoundError: If there is no such folder.
        DataError: If the folder is not a finished index, or its engine is unknown to this version.
        SettingError: If the engine has no such option.

    Examples:
        >>> open_index("my-index")
        ExactConceptIndex('my-index')
    """
    name = str(read_index_metadata(Path(path)).get("format"))
    engine = _installed(name)
    if engine is None:
        raise DataError(f"{path} was built with the unknown engine {name!r}; engines: {', '.join(map(repr, ENGINES))}")
    require_options(engine.ARTIFACT_FORMAT, "search", options, list(inspect.signature(engine).parameters)[1:])
    return engine(path, **options)


def find_engine(engine: str | type[ConceptIndex]) -> type[ConceptIndex]:
    """Returns the class of an engine.

    Args:
        engine: The name of an engine of this package, or the name of an engine that another package registers as
            ``concept_index.NAME`` in the entry point group ``pyterrier.artifact``, or the class itself.

    Raises:
        SettingError: If there is no such engine.

    Examples:
        >>> find_engine("exact")
        <class 'pyterrier_saesplade.engines.exact.ExactConceptIndex'>
    """
    found = _installed(engine) if isinstance(engine, str) else engine
    if found is None:
        raise SettingError(f"there is no engine {engine!r}; engines: {', '.join(map(repr, ENGINES))}")
    return found


def _installed(name: str) -> type[ConceptIndex] | None:
    """Returns an engine of this package or of another installed package, or ``None`` if there is none."""
    if name in ENGINES:
        return ENGINES[name]
    for entry_point in entry_points(group="pyterrier.artifact", name=f"{INDEX_TYPE}.{name}"):
        engine: type[ConceptIndex] = entry_point.load()
        return engine
    return None


class ConceptIndexer(pt.Indexer):
    """Builds an index of concept vectors from texts.

    The index is built in a temporary folder next to ``path``, which is moved into place at the end. An interrupted
    build leaves no index and does not affect the next build.

    Args:
        model: The model that encodes the documents, or a store of its vectors, which stands in for it.
        path: The folder of the new index.
        engine: ``"terrier"``, ``"anserini"``, ``"pisa"``, ``"bmp"``, ``"seismic"``, ``"milvus"`` or ``"exact"``; or
            any other engine that :func:`~pyterrier_saesplade.engines.find_engine` accepts.
        engine_options: Build options of the engine: see its class.
        quantization: How weights are converted to integers. ``None`` uses the default of the engine (10 levels per unit
            of weight for Terrier, floats for the exact engine).
        pruning: Which weights of each document are kept, decided on floats, before quantisation.
        max_df: Latents in more than this share of the documents, above 0 and at most 1, are left out of the index, and
            searches ignore them. The share is computed after pruning and quantisation, and includes empty documents.
        text_field: The key of a document's text. The vector of ``None`` or an empty string is empty.
        batch_size: Number of documents that are encoded together.
        overwrite: Whether to replace an index of concept vectors at ``path``. Nothing else is ever replaced.
        verbose: Whether to show progress.

    Raises:
        SettingError: If the engine is unknown or has no such option, or a setting is out of range.

    Examples:
        >>> index = ConceptIndexer(model, "concepts.exact", "exact", pruning=Pruning(k=16)).index(documents)
        >>> len(index)
        12
    """

    def __init__(
        self,
        model: ConceptModel | StoredVectors,
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
        verbose: bool = False,
    ) -> None:
        require_positive(batch_size=batch_size)
        require_share(max_df=max_df)
        self._engine = find_engine(engine)
        self._options = self._engine.build_options(engine_options or {}, overwrite)
        self.model = model
        self.path = Path(path)
        self.engine = engine
        self.engine_options = engine_options
        self.quantization = quantization
        self.pruning = pruning
        self.max_df = max_df
        self.text_field = text_field
        self.batch_size = batch_size
        self.overwrite = overwrite
        self.verbose = verbose
        self.schematic = schematic_of("Concept indexer", "ConceptIndexer")

    def __repr__(self) -> str:
        """Returns the beginning of the call of the constructor."""
        return f"ConceptIndexer({self.model!r}, {str(self.path)!r}, {self._engine.ARTIFACT_FORMAT!r})"

    def index(self, iter: Iterable[Mapping[str, Any]] | StoredVectors, **kwargs: object) -> ConceptIndex:
        """Encodes and indexes documents, or indexes a store.

        Args:
            iter: Dictionaries with ``docno`` and either the text or ``toks``: terms of the model with float weights,
                which are indexed as they are. Or a store whose vectors the model encoded.
            **kwargs: Unsupported; raises a ``TypeError``.

        Returns:
            The open index.

        Raises:
            AlreadyQuantizedError: If the weights of ``toks`` are integers, because they would be scaled twice.
            DataError: If there are no documents, all of them are empty, a document lacks a field, a docno occurs twice,
                or ``toks`` contains a term that the model does not have or a negative or non-finite weight.
            ModelMismatchError: If another model encoded the store.
            PathExistsError: If ``path`` exists and must not be overwritten.
            TypeError: If texts must be encoded, but a store stands in for the model.
        """
        if kwargs:
            raise TypeError(f"unknown arguments: {', '.join(kwargs)}")
        if isinstance(iter, StoredVectors):
            return self._index_store(iter)
        documents = pt.tqdm(iter, desc="Indexing", unit="doc", disable=not self.verbose)
        return self.index_vectors(map(self._vectors, chunked(documents, self.batch_size)))

    def index_vectors(self, windows: Iterable[tuple[Sequence[str], ConceptVectors]]) -> ConceptIndex:
        """Indexes documents that are already encoded, so that several indexes can share one encoding.

        Args:
            windows: Batches of a few thousand documents: docnos and float concept vectors.

        Returns:
            The open index.

        Raises:
            DataError: If there are no documents, all of them are empty, or a docno occurs twice.
            PathExistsError: If ``path`` exists and must not be overwritten.
        """
        engine = self._engine
        self._check_target()
        engine.prepare(**self._options)
        write_index(
            self.path,
            engine,
            self.model,
            windows,
            self._check_target,
            quantization=self.quantization or engine.default_quantization,
            pruning=self.pruning,
            max_df=self.max_df,
            options=self._options,
        )
        return engine(self.path)

    def index_inputs(self) -> list[list[str]]:
        """Returns the fields that documents must have."""
        encoded = ["docno", "toks"]
        return [encoded] if isinstance(self.model, StoredVectors) else [["docno", self.text_field], encoded]

    def _index_store(self, store: StoredVectors) -> ConceptIndex:
        require_same_model(
            f"{store.folder}, encoded with {store},",
            store.fingerprint,
            str(self.model),
            self.model.fingerprint,
            "encode the documents again, or index the store with the model that encoded it",
        )
        with pt.tqdm(total=len(store), desc="Indexing", unit="doc", disable=not self.verbose) as bar:
            return self.index_vectors(counted(store.batches(), bar))

    def _vectors(self, batch: list[Mapping[str, Any]]) -> tuple[list[str], ConceptVectors]:
        if any(isinstance(document, Mapping) and "toks" in document for document in batch):
            docnos = [field(document, "docno") for document in batch]
            return docnos, self._from_toks([field(document, "toks") for document in batch])
        if isinstance(self.model, StoredVectors):
            raise TypeError(f"the store {self.model.folder} cannot encode texts: call index with a store or with toks")
        return encode_documents(self.model, batch, self.text_field)

    def _from_toks(self, column: Sequence[Any]) -> ConceptVectors:
        toks = as_toks(column)
        vectors = from_float_toks(toks, self.model.terms)
        if len(vectors.latents) < sum(map(len, toks)):
            unknown = next(term for text in toks for term in text if self.model.terms.latent(term) is None)
            raise DataError(f"toks contains {unknown!r}, which is not one of the terms of {self.model}")
        require_finite(vectors.weights)
        if (vectors.weights < 0).any():
            raise DataError(f"the weights of toks must not be negative; the smallest is {vectors.weights.min():g}")
        return vectors.where(vectors.weights > 0)

    def _check_target(self) -> None:
        if not self.path.exists():
            return
        if not self.overwrite:
            raise PathExistsError(
                f"{self.path} exists already: choose another path, open the index with pyterrier.Artifact.load, "
                "or pass overwrite=True"
            )
        read_index_metadata(self.path)
