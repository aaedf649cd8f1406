"""Documents to an index: encode, spool, build beside, move into place."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyterrier as pt

from pyterrier_saesplade.encoding.vectors import ConceptVectors
from pyterrier_saesplade.engines.bmp import BmpConceptIndex
from pyterrier_saesplade.engines.exact import ExactConceptIndex
from pyterrier_saesplade.engines.index import ConceptIndex, read_metadata, write_metadata
from pyterrier_saesplade.engines.pisa import PisaConceptIndex
from pyterrier_saesplade.engines.seismic import SeismicConceptIndex
from pyterrier_saesplade.engines.spool import Spool
from pyterrier_saesplade.engines.terrier import TerrierConceptIndex
from pyterrier_saesplade.files import beside
from pyterrier_saesplade.impacts import Quantization
from pyterrier_saesplade.impacts.toks import as_texts
from pyterrier_saesplade.pipeline.stage import DOCS, require_positive
from pyterrier_saesplade.store.documents import field, windows
from pyterrier_saesplade.store.model import EncodingModel
from pyterrier_saesplade.store.reader import StoredVectors

ENGINES: dict[str, type[ConceptIndex]] = {
    engine.ARTIFACT_FORMAT: engine
    for engine in (TerrierConceptIndex, ExactConceptIndex, PisaConceptIndex, BmpConceptIndex, SeismicConceptIndex)
}


class ConceptIndexer(pt.Indexer):
    """Builds an index of concept vectors from texts.

    Everything is written to a folder beside the target that is moved into place at the end: a build that was
    interrupted leaves no index, and does not hinder the next one.

    Args:
        model: The model that encodes the documents, or a store of their vectors, which stands for it.
        path: The folder that the index will be.
        engine: ``"terrier"`` or ``"exact"``.
        quantization: How weights become integers, in place of the engine's default (10 levels per unit of weight for
            Terrier, floats for the exact engine).
        text_field: The key under which a document has its text; ``None`` or an empty text makes an empty document.
        batch_size: Documents that are encoded together.
        overwrite: Replace an index of concept vectors that is at ``path``. Nothing else is ever replaced.
        verbose: Whether to show progress.

    Raises:
        ValueError: If the engine is unknown.
    """

    def __init__(
        self,
        model: EncodingModel | StoredVectors,
        path: str | os.PathLike[str],
        engine: str = "terrier",
        *,
        quantization: Quantization | None = None,
        text_field: str = "text",
        batch_size: int = 4096,
        overwrite: bool = False,
        verbose: bool = False,
    ) -> None:
        require_positive(batch_size=batch_size)
        if engine not in ENGINES:
            raise ValueError(f"there is no engine {engine!r}; engines are: {', '.join(map(repr, ENGINES))}")
        self.model = model
        self.path = Path(path)
        self.engine = engine
        self.quantization = quantization
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
        quantization = self.quantization or engine.default_quantization
        self._check_target()
        engine.prepare()
        with beside(self.path) as workplace:
            folder = workplace / "index"
            folder.mkdir(parents=True)
            with Spool(workplace / "spool.parquet", len(self.model.terms), quantization) as spool:
                for docnos, vectors in windows:
                    spool.append(docnos, vectors)
            if not spool.statistics.n_docs:
                raise ValueError("there are no documents to index: the iterator was empty (was it used before?)")
            if not spool.n_postings:
                raise ValueError("every document is empty: was another text_field meant?")
            engine.write(folder, spool, self.model.terms)
            write_metadata(folder, engine, self.model, spool, quantization)
            self._check_target()
            _move_into_place(folder, self.path, workplace / "replaced")
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
            return self.index_vectors(_counted(store.windows(), bar))

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


def _counted(
    encoded: Iterable[tuple[list[str], ConceptVectors]], bar: Any
) -> Iterator[tuple[list[str], ConceptVectors]]:
    for docnos, vectors in encoded:
        yield docnos, vectors
        bar.update(len(docnos))


def _move_into_place(folder: Path, path: Path, replaced: Path) -> None:
    """Renames ``folder`` to ``path``; what is there goes to ``replaced``, and comes back if that fails."""
    try:
        if path.exists():
            path.rename(replaced)
        folder.rename(path)
    except BaseException:  # an interruption between the two renames included
        if replaced.exists() and not path.exists():
            replaced.rename(path)
        raise
