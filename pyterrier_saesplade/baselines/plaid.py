"""PLAID: clustered and compressed indexes of ColBERT token states, with PyLate's engine ``fast_plaid``."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyterrier as pt
import torch
from more_itertools import chunked
from torch import Tensor

from pyterrier_saesplade.baselines.pylate import require_pylate
from pyterrier_saesplade.checks import require_positive, require_same_model
from pyterrier_saesplade.documents import DistinctDocnos, field
from pyterrier_saesplade.encoding import pick_device
from pyterrier_saesplade.engines import Hits, read_docnos, result_frame, write_docnos
from pyterrier_saesplade.errors import DataError, SettingError
from pyterrier_saesplade.files import (
    installed_versions,
    read_artifact_metadata,
    replacing,
    require_new,
    write_artifact_metadata,
)
from pyterrier_saesplade.impacts import FINGERPRINT, as_texts
from pyterrier_saesplade.pipeline import Stage, schematic_of

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from pyterrier_saesplade.baselines.colbert import ColbertModel

_PACKAGES = ("pyterrier_saesplade", "pyterrier", "torch", "transformers", "pylate", "fast_plaid")
#: The subfolder of the engine's own files.
_ENGINE = "plaid"
_SEED = 42
#: With fewer token states in total, the engine cannot hold some out to measure its compression error.
_MIN_TOKENS = 10
#: Number of queries that are searched between two updates of the progress bar.
_CHUNK = 64


class PlaidIndex(pt.Artifact):
    """A PLAID index of ColBERT token states: a folder with the engine's files, the docnos and a description.

    Args:
        path: A folder that :class:`PlaidIndexer` wrote.
        n_ivf_probe: Number of nearest clusters per query token in which candidates are searched.
        n_full_scores: Maximum number of candidates whose full scores are computed.
        device: Where to search; ``None`` for the first GPU, or the CPU if there is none.

    Raises:
        PathNotFoundError: If there is no such folder.
        MissingPackageError: If PyLate is not installed.
        DataError: If the folder is not a finished PLAID index.
        SettingError: If an option is not positive.

    Examples:
        >>> pt.Artifact.load("my-plaid", n_ivf_probe=16)
        PlaidIndex('my-plaid', n_ivf_probe=16, n_full_scores=8192)
    """

    ARTIFACT_TYPE: ClassVar[str] = "colbert_index"
    ARTIFACT_FORMAT: ClassVar[str] = "plaid"
    ARTIFACT_PACKAGE_HINT: ClassVar[str] = "pyterrier_saesplade"

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        n_ivf_probe: int = 8,
        n_full_scores: int = 8192,
        device: str | None = None,
    ) -> None:
        super().__init__(Path(path))
        require_pylate()
        require_positive(n_ivf_probe=n_ivf_probe, n_full_scores=n_full_scores)
        pick_device(device)
        self.n_ivf_probe = n_ivf_probe
        self.n_full_scores = n_full_scores
        self.device = device
        self.metadata = _read_index_metadata(Path(path))

    @property
    def fingerprint(self) -> str:
        """Identifies the model that encoded the documents."""
        return str(self.metadata["fingerprint"])

    def __len__(self) -> int:
        """Returns the number of documents, including empty ones."""
        return int(self.metadata["n_docs"])

    def retriever(self, num_results: int = 1000, *, verbose: bool = False) -> PlaidRetriever:
        """Returns a transformer that searches the index with ``query_embs``."""
        return PlaidRetriever(self, num_results, verbose=verbose)

    def search(self, queries: Sequence[NDArray[np.float32]], num_results: int) -> list[Hits]:
        """Finds the documents with the largest scores.

        Args:
            queries: The token states ``[tokens, d]`` of each query. A query without tokens finds nothing.
            num_results: Maximum number of documents per query.

        Returns:
            For each query, the documents in descending order of score; ties are in indexing order. Scores are computed
            from the compressed states.
        """
        hits = [Hits([], np.empty(0))] * len(queries)
        full = [number for number, states in enumerate(queries) if len(states)]
        if not full:
            return hits
        found = self._engine.search(
            [torch.from_numpy(np.asarray(queries[number], np.float32)) for number in full],
            top_k=num_results,
            batch_size=1 << 18,  # PyLate's value; a number of centroid scores, not of queries
            n_ivf_probe=self.n_ivf_probe,
            n_full_scores=max(self.n_full_scores, num_results),
            show_progress=False,
        )
        for number, pairs in zip(full, found, strict=True):
            best = sorted(pairs, key=lambda pair: (-pair[1], pair[0]))
            hits[number] = Hits(
                [self._docnos[document] for document, _ in best], np.array([score for _, score in best], np.float64)
            )
        return hits

    @cached_property
    def _engine(self) -> Any:
        return _open_engine(self._folder / _ENGINE, self.device)

    @cached_property
    def _docnos(self) -> list[str]:
        return read_docnos(self._folder)

    @property
    def _folder(self) -> Path:
        return Path(str(self.path))

    def _options(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("n_ivf_probe", "n_full_scores", "device")}

    def __eq__(self, other: object) -> bool:
        """Returns whether both are the same build in the same folder with the same search options."""
        return (
            type(other) is type(self)
            and self._folder.resolve() == other._folder.resolve()
            and self.metadata == other.metadata
            and self._options() == other._options()
        )

    def __hash__(self) -> int:
        """Returns a hash that agrees with ``==``."""
        return hash((type(self), self._folder.resolve()))

    def __repr__(self) -> str:
        """Returns the call of the constructor, without the device."""
        return f"PlaidIndex({str(self.path)!r}, n_ivf_probe={self.n_ivf_probe}, n_full_scores={self.n_full_scores})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles an index as its path and its search options."""
        return _reopen, (str(self.path), self._options())


class PlaidIndexer(pt.Indexer):
    """Builds a PLAID index from texts.

    The index is built in a temporary folder next to ``path``, which is moved into place at the end. Nothing is ever
    overwritten. The token states of the whole corpus are first written to a file in the temporary folder as 16-bit
    floats (256 bytes per token with 128 dimensions), from which the engine reads them. Memory holds one batch, and what
    the engine needs.

    Args:
        model: The model that encodes the documents.
        path: The folder of the new index.
        nbits: Bits per dimension for the difference between a state and the centroid of its cluster.
        text_field: The key of a document's text. A document with ``None`` or an empty string is never found.
        batch_size: Number of documents that are encoded together.
        verbose: Whether to show progress.

    Raises:
        SettingError: If ``nbits`` is not 1, 2, 4 or 8, or ``batch_size`` is not positive.

    Examples:
        >>> index = PlaidIndexer(colbert, "colbert.plaid").index(documents)
        >>> len(index)
        12
    """

    def __init__(
        self,
        model: ColbertModel,
        path: str | os.PathLike[str],
        *,
        nbits: int = 4,
        text_field: str = "text",
        batch_size: int = 1024,
        verbose: bool = False,
    ) -> None:
        require_positive(batch_size=batch_size)
        if nbits not in (1, 2, 4, 8):
            raise SettingError(f"nbits must be 1, 2, 4 or 8, not {nbits!r}")
        self.model = model
        self.path = Path(path)
        self.nbits = nbits
        self.text_field = text_field
        self.batch_size = batch_size
        self.verbose = verbose
        self.schematic = schematic_of("PLAID indexer", "PlaidIndexer")

    def __repr__(self) -> str:
        """Returns the beginning of the call of the constructor."""
        return f"PlaidIndexer({self.model!r}, {str(self.path)!r})"

    def index_inputs(self) -> list[list[str]]:
        """Returns the fields that documents must have."""
        return [["docno", self.text_field]]

    def index(self, iter: Iterable[Mapping[str, Any]], **kwargs: object) -> PlaidIndex:
        """Encodes and indexes documents.

        Args:
            iter: Dictionaries with ``docno`` and the text.
            **kwargs: Unsupported; raises a ``TypeError``.

        Returns:
            The open index.

        Raises:
            PathExistsError: If ``path`` exists.
            DataError: If there are no documents, all of them are empty, they have fewer than 10 tokens in total, a
                document lacks a field, or a docno occurs twice.
        """
        if kwargs:
            raise TypeError(f"unknown arguments: {', '.join(kwargs)}")
        documents = pt.tqdm(iter, desc="Indexing", unit="doc", disable=not self.verbose)
        with replacing(self.path, lambda: require_new(self.path)) as folder:
            folder.mkdir()
            n_docs, docnos, states = self._encode(documents, folder.with_name(f"{folder.name}.states"))
            _create(folder / _ENGINE, states, self.nbits, self.model.device)
            write_docnos(folder, docnos)
            write_artifact_metadata(
                folder,
                PlaidIndex.ARTIFACT_TYPE,
                PlaidIndex.ARTIFACT_FORMAT,
                installed_versions(_PACKAGES),
                model=str(self.model),
                fingerprint=self.model.fingerprint,
                nbits=self.nbits,
                n_docs=n_docs,
                n_tokens=sum(map(len, states)),
            )
            del states  # closes the file that is mapped into memory
        return PlaidIndex(self.path, device=self.model.device)

    def _encode(self, documents: Iterable[Mapping[str, Any]], file: Path) -> tuple[int, list[str], tuple[Tensor, ...]]:
        """Writes the states of documents to a file and maps it into memory.

        Returns:
            The number of documents, the docnos of the documents with a text, and the states of these documents.
        """
        distinct = DistinctDocnos()
        n_docs, dimension = 0, 0
        docnos: list[str] = []
        lengths: list[int] = []
        with file.open("wb") as written:
            for batch in chunked(documents, self.batch_size):
                names = [field(document, "docno") for document in batch]
                distinct.add(names)
                n_docs += len(names)
                texts = as_texts(field(document, self.text_field) for document in batch)
                for number, states in self.model.states(texts, "doc"):
                    half = states.to("cpu", torch.float16).contiguous()
                    written.write(half.view(torch.uint8).numpy().tobytes())
                    docnos.append(names[number])
                    lengths.append(len(half))
                    dimension = half.shape[1]
        if not n_docs:
            raise DataError("there are no documents to index: the iterator was empty (was it used before?)")
        if not docnos:
            raise DataError("every document is empty: check text_field")
        if sum(lengths) < _MIN_TOKENS:
            raise DataError(f"the documents have {sum(lengths)} tokens, but PLAID needs at least {_MIN_TOKENS}")
        size = sum(lengths) * dimension
        mapped = torch.from_file(str(file), shared=False, size=size, dtype=torch.float16)
        return n_docs, docnos, torch.split(mapped.view(-1, dimension), lengths)


class PlaidRetriever(Stage):
    """Searches a PLAID index with ``query_embs``.

    Scores are approximate: they are computed from compressed states, for the candidates that PLAID finds. A query
    without text has no row in the result. Queries must come from the model that built the index. This is checked if the
    frame comes from a query encoder.

    Args:
        index: The index.
        num_results: Maximum number of documents per query.
        verbose: Whether to show progress.

    Raises:
        SettingError: If ``num_results`` is not positive.
        ModelMismatchError: If another model encoded the queries.

    Examples:
        >>> index = pt.Artifact.load("my-plaid")
        >>> pipeline = colbert.query_encoder() >> PlaidRetriever(index, num_results=3)
        >>> pipeline.search("young cat")["rank"].tolist()
        [0, 1, 2]
    """

    label: ClassVar[str] = "PLAID retriever"

    def __init__(self, index: PlaidIndex, num_results: int = 1000, *, verbose: bool = False) -> None:
        require_positive(num_results=num_results)
        self.index = index
        self.num_results = num_results
        self.verbose = verbose

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Returns one row per query and document found: the query's columns, ``docno``, ``score`` and ``rank``."""
        pt.validate.query_frame(inp, extra_columns=["query_embs"])
        require_same_model(
            "the queries",
            inp.attrs.get(FINGERPRINT, self.index.fingerprint),
            f"{self.index.path}, built with {self.index.metadata['model']},",
            self.index.fingerprint,
            "use the query encoder of the model that built the index",
        )
        queries = inp["query_embs"].tolist()
        hits: list[Hits] = []
        with pt.tqdm(total=len(queries), desc="Searching", unit="query", disable=not self.verbose) as bar:
            for start in range(0, len(queries), _CHUNK):
                chunk = queries[start : start + _CHUNK]
                hits += self.index.search(chunk, self.num_results)
                bar.update(len(chunk))
        return result_frame(inp, hits)

    def fuse_rank_cutoff(self, k: int) -> PlaidRetriever | None:
        """Returns a retriever that finds only as many documents as the rank cut-off that follows it keeps."""
        if k < 1:
            return None  # the cut-off itself must return the empty ranking
        return self if k >= self.num_results else PlaidRetriever(self.index, k, verbose=self.verbose)

    def subtransformers(self) -> dict[str, pt.Transformer]:
        """Returns an empty dictionary: the index is not a transformer."""
        return {}


def _create(folder: Path, states: Sequence[Tensor], nbits: int, device: str | None) -> None:
    """Clusters and compresses states. The same states give the same index."""
    with torch.random.fork_rng():
        torch.manual_seed(_SEED)  # the engine draws its sample before it sets a seed
        engine = _open_engine(folder, device)
        # A positive start_from_scratch stores a pickle of all states of a small corpus, so that documents can be added.
        engine.create(list(states), nbits=nbits, seed=_SEED, use_triton_kmeans=False, start_from_scratch=0)
        engine.close()


def _open_engine(folder: Path, device: str | None) -> Any:
    from fast_plaid.search import FastPlaid

    return FastPlaid(str(folder), device=str(pick_device(device)))


def _reopen(path: str, options: dict[str, Any]) -> PlaidIndex:
    return PlaidIndex(path, **options)


def _read_index_metadata(folder: Path) -> dict[str, Any]:
    remedy = f"build one with ColbertModel(…).indexer({str(folder)!r}).index(documents)"
    return read_artifact_metadata(folder, PlaidIndex.ARTIFACT_TYPE, "PLAID index", remedy)
