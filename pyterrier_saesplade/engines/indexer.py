"""Documents to an index: encode, spool, build beside, move into place."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

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
from pyterrier_saesplade.errors import PathExistsError, SettingError
from pyterrier_saesplade.impacts import Pruning, Quantization, as_toks, from_float_toks, require_finite
from pyterrier_saesplade.pipeline import DOCS
from pyterrier_saesplade.protocols import ConceptModel
from pyterrier_saesplade.store import StoredVectors
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
    """Opens an index, whatever its engine.

    Args:
        path: The folder.
        **options: How the engine searches, where it has such options: see its class.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it holds no finished index, one of an engine that this version does not have, or the engine has
            no such option.
    """
    name = str(read_index_metadata(Path(path)).get("format"))
    engine = _installed(name)
    if engine is None:
        raise SettingError(f"{path} was built with engine {name!r}; known are: {', '.join(map(repr, ENGINES))}")
    require_options(engine.ARTIFACT_FORMAT, "search", options, list(inspect.signature(engine).parameters)[1:])
    return engine(path, **options)


def find_engine(engine: str | type[ConceptIndex]) -> type[ConceptIndex]:
    """Returns the class of an engine.

    Args:
        engine: The name of an engine of this package, or of one that another package registers as
            ``concept_index.NAME`` in the entry points ``pyterrier.artifact``; or the class itself.

    Raises:
        ValueError: If there is no such engine.

    Examples:
        >>> find_engine("exact")
        <class 'pyterrier_saesplade.engines.exact.ExactConceptIndex'>
    """
    found = _installed(engine) if isinstance(engine, str) else engine
    if found is None:
        raise SettingError(f"there is no engine {engine!r}; engines are: {', '.join(map(repr, ENGINES))}")
    return found


def _installed(name: str) -> type[ConceptIndex] | None:
    """Returns an engine of this package or of another one; ``None`` if no package has it."""
    if name in ENGINES:
        return ENGINES[name]
    for entry_point in entry_points(group="pyterrier.artifact", name=f"{INDEX_TYPE}.{name}"):
        engine: type[ConceptIndex] = entry_point.load()
        return engine
    return None


class ConceptIndexer(pt.Indexer):
    """Builds an index of concept vectors from texts.

    Everything is written to a folder beside the target that is moved into place at the end: a build that was
    interrupted leaves no index, and does not hinder the next one.

    Args:
        model: The model that encodes the documents, or a store of their vectors, which stands for it.
        path: The folder that the index will be.
        engine: ``"terrier"``, ``"anserini"``, ``"pisa"``, ``"bmp"``, ``"seismic"``, ``"milvus"`` or ``"exact"``; or
            another one, as :func:`~pyterrier_saesplade.engines.find_engine` takes it.
        engine_options: How the engine builds the index, where it has build options: see its class.
        quantization: How weights become integers, in place of the engine's default (10 levels per unit of weight for
            Terrier, floats for the exact engine).
        pruning: Which weights of each document are kept, decided on floats, before quantisation.
        max_df: Latents that more than this share of the documents have, above 0 and at most 1, are left out of the
            index; searches ignore them. Counted after pruning and quantisation, empty documents included.
        text_field: The key under which a document has its text; ``None`` or an empty text makes an empty document.
        batch_size: Documents that are encoded together.
        overwrite: Replace an index of concept vectors that is at ``path``. Nothing else is ever replaced.
        verbose: Whether to show progress.

    Raises:
        ValueError: If the engine is unknown or has no such option, or a setting is out of its range.

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
        self.schematic = {"label": "Concept indexer", "help_url": f"{DOCS}#pyterrier_saesplade.ConceptIndexer"}

    def __repr__(self) -> str:
        """Returns the beginning of the constructor's call."""
        return f"ConceptIndexer({self.model!r}, {str(self.path)!r}, {self._engine.ARTIFACT_FORMAT!r})"

    def index(self, iter: Iterable[Mapping[str, Any]] | StoredVectors, **kwargs: object) -> ConceptIndex:
        """Encodes and indexes documents, or indexes a store.

        Args:
            iter: Dictionaries with ``docno`` and either the text or ``toks``, pseudo-terms of the model with float
                weights, which are taken as they are; or a store that the model encoded before.
            **kwargs: None is known.

        Returns:
            The index, open.

        Raises:
            AlreadyQuantizedError: If the weights of ``toks`` are integers: they would be scaled twice.
            FileExistsError: If there is something at the path.
            TypeError: If texts are to be encoded, and a store stands for the model.
            ValueError: If there are no documents, all are empty, one lacks a field, a docno occurs twice, the store is
                of another model, or ``toks`` has a term that the model does not know or a weight that is
                not finite or is negative.
        """
        if kwargs:
            raise TypeError(f"unknown arguments: {', '.join(kwargs)}")
        if isinstance(iter, StoredVectors):
            return self._index_store(iter)
        documents = pt.tqdm(iter, desc="Indexing", unit="doc", disable=not self.verbose)
        return self.index_vectors(map(self._vectors, chunked(documents, self.batch_size)))

    def index_vectors(self, windows: Iterable[tuple[Sequence[str], ConceptVectors]]) -> ConceptIndex:
        """Indexes documents that the model encoded before, so that several indexes cost one encoding.

        Args:
            windows: Docnos and float concept vectors, some thousand documents at a time.

        Returns:
            The index, open.

        Raises:
            FileExistsError: If there is something at the path.
            ValueError: If there are no documents, all are empty, or a docno occurs twice.
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

    def _vectors(self, window: list[Mapping[str, Any]]) -> tuple[list[str], ConceptVectors]:
        if any(isinstance(document, Mapping) and "toks" in document for document in window):
            docnos = [field(document, "docno") for document in window]
            return docnos, self._given([field(document, "toks") for document in window])
        if isinstance(self.model, StoredVectors):
            raise TypeError(f"the store {self.model.folder} encodes no texts: call index with a store, or with toks")
        return encode_documents(self.model, window, self.text_field)

    def _given(self, column: Sequence[Any]) -> ConceptVectors:
        toks = as_toks(column)
        vectors = from_float_toks(toks, self.model.terms)
        if len(vectors.latents) < sum(map(len, toks)):
            unknown = next(term for text in toks for term in text if self.model.terms.latent(term) is None)
            raise SettingError(f"toks holds {unknown!r}, which is none of the terms of {self.model}")
        require_finite(vectors.weights)
        if (vectors.weights < 0).any():
            raise SettingError(f"the weights of toks must not be negative, as {vectors.weights.min():g} is")
        return vectors.where(vectors.weights > 0)

    def _check_target(self) -> None:
        if not self.path.exists():
            return
        if not self.overwrite:
            raise PathExistsError(
                f"{self.path} exists already: name another path, open it with pyterrier.Artifact.load, "
                "or give overwrite=True"
            )
        read_index_metadata(self.path)
