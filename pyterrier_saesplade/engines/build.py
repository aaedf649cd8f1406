"""Documents to an index: encode, spool, build beside, move into place."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyterrier as pt

from pyterrier_saesplade.encoding.vectors import ConceptVectors
from pyterrier_saesplade.engines.anserini import AnseriniConceptIndex
from pyterrier_saesplade.engines.bmp import BmpConceptIndex
from pyterrier_saesplade.engines.exact import ExactConceptIndex
from pyterrier_saesplade.engines.index import ConceptIndex, read_metadata
from pyterrier_saesplade.engines.milvus import MilvusConceptIndex
from pyterrier_saesplade.engines.pisa import PisaConceptIndex
from pyterrier_saesplade.engines.seismic import SeismicConceptIndex
from pyterrier_saesplade.engines.terrier import TerrierConceptIndex
from pyterrier_saesplade.engines.write import counted, write_index
from pyterrier_saesplade.impacts import Pruning, Quantization
from pyterrier_saesplade.impacts.pruning import require_share
from pyterrier_saesplade.impacts.toks import as_texts
from pyterrier_saesplade.pipeline.stage import DOCS, require_positive
from pyterrier_saesplade.store.documents import field, windows
from pyterrier_saesplade.store.model import EncodingModel
from pyterrier_saesplade.store.reader import StoredVectors

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


def open_index(path: str | os.PathLike[str]) -> ConceptIndex:
    """Opens an index, whatever its engine.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it holds no finished index, or one of an engine that this version does not have.
    """
    engine = read_metadata(Path(path)).get("format")
    if engine not in ENGINES:
        raise ValueError(f"{path} was built with engine {engine!r}; known are: {', '.join(map(repr, ENGINES))}")
    return ENGINES[engine](path)


class ConceptIndexer(pt.Indexer):
    """Builds an index of concept vectors from texts.

    Everything is written to a folder beside the target that is moved into place at the end: a build that was
    interrupted leaves no index, and does not hinder the next one.

    Args:
        model: The model that encodes the documents, or a store of their vectors, which stands for it.
        path: The folder that the index will be.
        engine: ``"terrier"``, ``"anserini"``, ``"pisa"``, ``"bmp"``, ``"seismic"``, ``"milvus"`` or ``"exact"``.
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
    """

    def __init__(
        self,
        model: EncodingModel | StoredVectors,
        path: str | os.PathLike[str],
        engine: str = "terrier",
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
        if engine not in ENGINES:
            raise ValueError(f"there is no engine {engine!r}; engines are: {', '.join(map(repr, ENGINES))}")
        self._options = ENGINES[engine].build_options(engine_options or {}, overwrite)
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

    def index(self, iter: Iterable[Mapping[str, Any]] | StoredVectors, **kwargs: object) -> ConceptIndex:
        """Encodes and indexes documents, or indexes a store.

        Args:
            iter: Dictionaries with ``docno`` and the text; or a store that the model encoded before.
            **kwargs: None is known.

        Returns:
            The index, open.

        Raises:
            FileExistsError: If there is something at the path.
            ValueError: If there are no documents, all are empty, one lacks a field, a docno occurs twice, or the store
                is of another model.
        """
        if kwargs:
            raise TypeError(f"unknown arguments: {', '.join(kwargs)}")
        if isinstance(iter, StoredVectors):
            return self._index_store(iter)
        if isinstance(self.model, StoredVectors):
            raise TypeError(f"the store {self.model.folder} encodes no texts: call index with a store")
        documents = pt.tqdm(iter, desc="Indexing", unit="doc", disable=not self.verbose)
        model = self.model
        return self.index_vectors(self._encode(model, window) for window in windows(documents, self.batch_size))

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
        engine = ENGINES[self.engine]
        self._check_target()
        engine.prepare(**self._options)
        write_index(
            self.path,
            engine.ARTIFACT_FORMAT,
            partial(engine.write, **self._options),
            self.model,
            windows,
            self._check_target,
            quantization=self.quantization or engine.default_quantization,
            pruning=self.pruning,
            max_df=self.max_df,
        )
        return engine(self.path)

    def index_inputs(self) -> list[list[str]]:
        """Returns the fields that documents must have."""
        return [["docno", self.text_field]]

    def _index_store(self, store: StoredVectors) -> ConceptIndex:
        if store.fingerprint != self.model.fingerprint:
            raise ValueError(
                f"{store.folder} was encoded by another model, {store} (fingerprint {store.fingerprint[:8]}…), than "
                f"{self.model} (fingerprint {self.model.fingerprint[:8]}…): encode the documents again, or index the "
                "store with the model that encoded it"
            )
        with pt.tqdm(total=len(store), desc="Indexing", unit="doc", disable=not self.verbose) as bar:
            return self.index_vectors(counted(store.windows(), bar))

    def _encode(self, model: EncodingModel, window: list[Mapping[str, Any]]) -> tuple[list[str], ConceptVectors]:
        docnos = [field(document, "docno") for document in window]
        texts = as_texts(field(document, self.text_field) for document in window)
        return docnos, model.encode(texts, "doc", verbose=False)

    def _check_target(self) -> None:
        if not self.path.exists():
            return
        if not self.overwrite:
            raise FileExistsError(
                f"{self.path} exists already: name another path, open it with pyterrier.Artifact.load, "
                "or give overwrite=True"
            )
        read_metadata(self.path)
