"""The base class of all indexes of concept vectors."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyterrier as pt

from pyterrier_saesplade.engines.description import STATISTICS, TERMS, prepare_queries
from pyterrier_saesplade.engines.write import INDEX_TYPE
from pyterrier_saesplade.errors import DataError, SettingError
from pyterrier_saesplade.files import installed_versions, read_artifact_metadata, read_json
from pyterrier_saesplade.hub_card import brief, fill_readme, opening
from pyterrier_saesplade.impacts import LatentStatistics, Pruning, Quantization, Terms

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from pyterrier_saesplade.engines.frames import Hits
    from pyterrier_saesplade.engines.spool import Spool
    from pyterrier_saesplade.types import Weighting
    from pyterrier_saesplade.vectors import ConceptVectors


class ConceptIndex(pt.Artifact):
    """An index of concept vectors: a folder with the data of an engine, latent statistics and a description.

    The description (``pt_meta.json``) records the fingerprint of the model, how weights were pruned and quantised, what
    query weights are multiplied by, counts, and the versions of the packages that wrote the index.

    Args:
        path: A folder that :class:`~pyterrier_saesplade.engines.indexer.ConceptIndexer` wrote.

    Raises:
        PathNotFoundError: If there is no such folder.
        DataError: If the folder is not a finished index of this engine.
    """

    ARTIFACT_TYPE: ClassVar[str] = INDEX_TYPE
    ARTIFACT_FORMAT: ClassVar[str]
    ARTIFACT_PACKAGE_HINT: ClassVar[str] = "pyterrier_saesplade"

    default_quantization: ClassVar[Quantization | None]
    """How documents are quantised by default; ``None`` if they are floats."""

    packages: ClassVar[tuple[str, ...]] = ()
    """The packages of the engine. The description records their versions."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(Path(path))
        self.metadata = read_index_metadata(Path(path))
        if self.metadata["format"] != self.ARTIFACT_FORMAT:
            raise DataError(
                f"{path} was built with engine={self.metadata['format']!r}, not {self.ARTIFACT_FORMAT!r}: "
                "open it with pyterrier.Artifact.load, which finds the engine"
            )

    @classmethod
    def versions(cls) -> dict[str, str]:
        """Returns the versions of the engine's own software."""
        return installed_versions(cls.packages)

    @classmethod
    def prepare(cls) -> None:
        """Checks that the engine can run here, before documents are encoded.

        An engine with build options takes them here and in :meth:`write`, as keyword-only parameters with defaults. A
        parameter named ``overwrite`` is not a build option: it says whether data outside the folder may be replaced.
        """

    @classmethod
    @abstractmethod
    def write(cls, folder: Path, spool: Spool, terms: Terms) -> None:
        """Writes the data of the engine into an existing folder. For build options see :meth:`prepare`."""

    @classmethod
    def build_options(cls, given: Mapping[str, Any], overwrite: bool) -> dict[str, Any]:
        """Returns the keyword arguments of :meth:`prepare` and :meth:`write`.

        Args:
            given: The build options of the engine.
            overwrite: Whether an index may be replaced. Passed on to engines that have this parameter.

        Raises:
            SettingError: If the engine has no such option.
        """
        parameters = inspect.signature(cls.write).parameters.values()
        known = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
        passed = {"overwrite": overwrite} if "overwrite" in known else {}
        known = [name for name in known if name not in passed]
        require_options(cls.ARTIFACT_FORMAT, "build", given, known)
        return {**given, **passed}

    @abstractmethod
    def search(self, queries: ConceptVectors, num_results: int) -> list[Hits]:
        """Finds the documents with the largest dot products.

        Args:
            queries: The weighted vectors of the queries; integers if the index holds integers.
            num_results: Maximum number of documents per query.

        Returns:
            For each query, the documents that share a latent with it, in descending order of their dot products; ties
            are in indexing order. Scores are in units of the stored weights.
        """

    @property
    def search_options(self) -> dict[str, Any]:
        """The other arguments of the constructor, which control how the engine searches."""
        return {}

    @property
    def fingerprint(self) -> str:
        """Identifies the model that encoded the documents."""
        return str(self.metadata["fingerprint"])

    @property
    def weighting(self) -> Weighting:
        """What query weights are multiplied by: ``"idf"`` or ``"none"``."""
        weighting: Weighting = self.metadata["weighting"]
        return weighting

    @property
    def quantization(self) -> Quantization | None:
        """How the weights of the documents were quantised; ``None`` if they are floats."""
        settings = self.metadata["quantization"]
        return None if settings is None else Quantization(**settings)

    @property
    def query_scale(self) -> float | None:
        """Levels per unit of query weight; ``None`` if query weights are floats."""
        scale: float | None = self.metadata["query_scale"]
        return scale

    @property
    def width(self) -> int:
        """The number of latents, M."""
        return int(self.metadata["width"])

    @cached_property
    def terms(self) -> Terms:
        """The names of the latents."""
        return Terms(self.width, read_json(self._folder / TERMS))

    @cached_property
    def statistics(self) -> LatentStatistics:
        """The number of indexed documents that contain each latent."""
        return LatentStatistics.load(self._folder / STATISTICS)

    @property
    def score_scale(self) -> float:
        """The divisor that converts dot products of stored weights to scores in units of weight."""
        quantization, query_scale = self.quantization, self.query_scale
        return 1.0 if quantization is None or query_scale is None else quantization.scale * query_scale

    def prepare_queries(self, queries: ConceptVectors, weighting: Weighting | None = None) -> ConceptVectors:
        """Returns queries as the engine receives them: weighted, then quantised if the index holds integers.

        Args:
            queries: Float vectors from the model that built the index.
            weighting: ``"idf"`` or ``"none"``, to override the weighting of the index.
        """
        return prepare_queries(queries, weighting or self.weighting, self.statistics, self.query_scale)

    def prepare_documents(self, documents: ConceptVectors) -> ConceptVectors:
        """Returns documents as the index stores them: pruned, quantised, and without the latents that it drops.

        Args:
            documents: Float vectors from the model that built the index.
        """
        pruning = (self.metadata.get("pruning") or {}).get("documents")
        if pruning is not None:
            documents = Pruning(**pruning).prune(documents)
        if self.quantization is not None:
            documents = self.quantization.quantize(documents)
        return documents.where(~np.isin(documents.latents, self.statistics.dropped))

    def __len__(self) -> int:
        """Returns the number of documents, including empty ones."""
        return int(self.metadata["n_docs"])

    def num_docs(self) -> int:
        """Returns the number of documents, including empty ones."""
        return len(self)

    def retriever(
        self, num_results: int = 1000, *, weighting: Weighting | None = None, verbose: bool = False
    ) -> pt.Transformer:
        """Returns a transformer that searches the index with float ``query_toks``.

        Args:
            num_results: Maximum number of documents per query.
            weighting: ``"idf"`` or ``"none"``, to override the weighting of the index.
            verbose: Whether to show progress.

        Examples:
            >>> pipeline = model.query_encoder() >> index.retriever(num_results=3)
            >>> pipeline.search("young cat").columns.tolist()
            ['qid', 'query', 'query_toks', 'docno', 'score', 'rank']
        """
        from pyterrier_saesplade.engines.retriever import ConceptRetriever

        return ConceptRetriever(self, num_results, weighting=weighting, verbose=verbose)

    def __eq__(self, other: object) -> bool:
        """Returns whether both are the same build in the same folder with the same search options."""
        return (
            type(other) is type(self)
            and self._folder.resolve() == other._folder.resolve()
            and self.metadata == other.metadata
            and self.search_options == other.search_options
        )

    def __hash__(self) -> int:
        """Returns a hash that agrees with ``==``."""
        return hash((type(self), self._folder.resolve()))

    def __repr__(self) -> str:
        """Returns the call of the constructor."""
        options = "".join(f", {name}={value!r}" for name, value in self.search_options.items())
        return f"{type(self).__name__}({str(self.path)!r}{options})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles an index as its path and its search options."""
        return _reopen, (type(self), str(self.path), self.search_options)

    def _hf_readme(self, *, metadata: dict[str, Any] | None = None, **settings: Any) -> str:
        """Returns the README that ``to_hf`` publishes with the index."""
        model, quantization = str(self.metadata["model"]), self.quantization
        known = opening(model, "Quantization")
        weights = "floats" if quantization is None else f"integers, {quantization.scale:g} levels per unit of weight"
        build = f'model.indexer("concepts.index", {self.ARTIFACT_FORMAT!r}, quantization={quantization!r})'
        return fill_readme(
            str(super()._hf_readme(metadata=brief(metadata), **settings)),
            description=(
                "An index of concept vectors for PyTerrier, built with pyterrier_saesplade: "
                f"{len(self):,} documents, {self.metadata['n_postings']:,} postings over {self.width:,} latents.\n\n"
                f"- model: `{model}`, fingerprint `{self.fingerprint}`\n"
                f"- engine: {self.ARTIFACT_FORMAT}\n"
                f"- weights: {weights}\n"
                f"- query weights are multiplied by: {self.weighting}"
            ),
            usage=(
                f'{known}model.retriever(artifact).search("a single query")'
                if known
                else "artifact.retriever()  # searches with query_toks from the model that encoded the documents"
            ),
            reproduction=f"{known}{build}.index(documents)" if known else "",
        )

    @property
    def _folder(self) -> Path:
        return Path(str(self.path))


def _reopen(engine: type[ConceptIndex], path: str, options: dict[str, Any]) -> ConceptIndex:
    return engine(path, **options)


def require_options(engine: str, kind: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raises a :exc:`SettingError` for the first option that the engine does not have.

    Examples:
        >>> require_options("seismic", "search", {"overfetch": 2.0}, ["query_cut", "heap_factor", "overfetch"])
        >>> require_options("exact", "search", {"overfetch": 2.0}, [])
        Traceback (most recent call last):
        ...
        pyterrier_saesplade.errors.SettingError: the engine 'exact' has no search option 'overfetch'; its options: none
    """
    for name in given:
        if name not in known:
            options = ", ".join(map(repr, known)) or "none"
            raise SettingError(f"the engine {engine!r} has no {kind} option {name!r}; its options: {options}")


def read_index_metadata(folder: Path) -> dict[str, Any]:
    """Reads the description of an index.

    Raises:
        PathNotFoundError: If there is no such folder.
        DataError: If the folder is not a finished index of concept vectors.

    Examples:
        >>> read_index_metadata(Path("my-index"))["format"]
        'exact'
    """
    remedy = f"build one with model.indexer({str(folder)!r}).index(documents)"
    return read_artifact_metadata(folder, ConceptIndex.ARTIFACT_TYPE, "index of concept vectors", remedy)
