"""Encoding a corpus into a store, part by part, in one or several jobs."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow.parquet as pq
import torch
from more_itertools import chunked
from tqdm.auto import tqdm

from pyterrier_saesplade.documents import DistinctDocnos, encode_documents, field
from pyterrier_saesplade.errors import DataError, SettingError
from pyterrier_saesplade.files import METADATA, claim, release, require_new
from pyterrier_saesplade.store.reader import StoredVectors
from pyterrier_saesplade.store.write import PART_DOCUMENTS, WINDOW_DOCUMENTS, part_path, write_manifest, write_part

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pyterrier_saesplade.protocols import ConceptModel


class Corpus(Protocol):
    """Documents that can be iterated over repeatedly, such as a collection or a PyTerrier dataset."""

    def get_corpus_iter(self) -> Iterator[dict[str, Any]]:
        """Yields dictionaries with ``docno`` and ``text``, in the same order every time."""


def encode_corpus(
    model: ConceptModel,
    corpus: Corpus,
    out: str | os.PathLike[str],
    *,
    shard: tuple[int, int] = (0, 1),
    workers: int = 1,
    half: bool = False,
    part_documents: int = PART_DOCUMENTS,
    verbose: bool = False,
) -> StoredVectors | None:
    """Encodes a corpus into a store.

    The corpus is split into parts of ``part_documents`` documents, each of which becomes a Parquet file. A file appears
    when it is complete. If a job is killed and started again, it resumes with the first missing part, and the files are
    the same as without the interruption.

    Several jobs, on one machine or on several that share the folder, can each encode the parts of their own shard. The
    job that finds all parts complete writes the manifest.

    Args:
        model: The model.
        corpus: The documents.
        out: The folder. If it contains unfinished work of the same model, the work is resumed.
        shard: ``(i, n)`` for job number ``i``, from 0, out of ``n``.
        workers: The number of processes that share the parts of this job; on a machine with several GPUs, one per GPU.
        half: Whether to store weights in 16 bits, with a relative precision of 2^-11.
        part_documents: The number of documents per file.
        verbose: Whether to show a progress bar.

    Returns:
        The store, or ``None`` if other shards are not finished yet.

    Raises:
        PathExistsError: If ``out`` is a finished store, contains work of another model or with other settings, or was
            not created by this function.
        DataError: If the corpus has no documents, a docno is empty or occurs twice, or existing parts contain other
            documents.
        SettingError: If ``shard``, ``workers`` or ``part_documents`` is out of range, or the corpus has no
            ``get_corpus_iter``.

    Examples:
        >>> store = encode_corpus(model, dataset, "vectors")
        >>> index = model.indexer("concepts.exact", "exact").index(store)
    """
    if not 0 <= shard[0] < shard[1]:
        raise SettingError(f"shard must be (i, n), with i from 0 to n - 1, not {shard}")
    if workers < 1 or part_documents < 1:
        raise SettingError(f"workers and part_documents must be positive, not {workers} and {part_documents}")
    if not hasattr(corpus, "get_corpus_iter"):
        raise SettingError(
            f"{corpus!r} is not a corpus: it has no get_corpus_iter, with which it can be read repeatedly; "
            "open_collection opens a collection"
        )
    out = Path(out)
    if (out / METADATA).exists():
        require_new(out)
    claim(out, {"fingerprint": model.fingerprint, "half": half, "part_documents": part_documents})
    parts = _Parts(model, out, half, part_documents)
    if workers == 1:
        count = parts.encode(corpus, shard, verbose)
    else:
        count = _encode_together(parts, corpus, shard, workers, verbose)
    return parts.finish(count)


class _Parts:
    """The files of an unfinished store."""

    def __init__(self, model: ConceptModel, folder: Path, half: bool, size: int) -> None:
        self.model = model
        self.folder = folder
        self.half = half
        self.size = size

    def encode(self, corpus: Corpus, shard: tuple[int, int], verbose: bool) -> int:
        """Encodes the missing parts of a shard, and returns the total number of parts of the corpus."""
        number = -1
        docnos = DistinctDocnos()
        with tqdm(desc="Encoding", unit="doc", disable=not verbose) as bar:
            for number, documents in enumerate(chunked(corpus.get_corpus_iter(), self.size)):
                names = [field(document, "docno") for document in documents]
                docnos.add(names)
                path = part_path(self.folder, number)
                if path.exists():
                    _check_same(path, names)
                elif number % shard[1] == shard[0]:
                    self._write(path, documents)
                bar.update(len(documents))
        return number + 1

    def finish(self, count: int) -> StoredVectors | None:
        """Writes the manifest if all parts are complete."""
        if count == 0:
            raise DataError("there are no documents to encode: the corpus is empty")
        paths = [part_path(self.folder, number) for number in range(count)]
        if not all(path.exists() for path in paths):
            return None
        if set(self.folder.glob("part-*.parquet")) - set(paths):
            raise DataError(f"{self.folder} contains parts of a larger corpus: name another folder, or remove it")
        write_manifest(self.folder, self.model, paths)
        release(self.folder)
        return StoredVectors(self.folder)

    def _write(self, path: Path, documents: Sequence[Mapping[str, Any]]) -> None:
        encoded = [encode_documents(self.model, window) for window in chunked(documents, WINDOW_DOCUMENTS)]
        write_part(path, self.model, encoded, half=self.half)


def _encode_together(parts: _Parts, corpus: Corpus, shard: tuple[int, int], workers: int, verbose: bool) -> int:
    shares = [(shard[0] + shard[1] * worker, shard[1] * workers) for worker in range(workers)]
    # Spawned, not forked, because the threads of torch and Java do not survive a fork.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        jobs = [
            pool.submit(_work, parts, corpus, share, worker, workers, verbose) for worker, share in enumerate(shares)
        ]
        return max(job.result() for job in jobs)


def _work(parts: _Parts, corpus: Corpus, share: tuple[int, int], worker: int, workers: int, verbose: bool) -> int:
    """Encodes one worker's share in its own process, with an equal share of the cores or its own GPU."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
    if torch.cuda.is_available():
        torch.cuda.set_device(worker % torch.cuda.device_count())
    return parts.encode(corpus, share, verbose and worker == 0)


def _check_same(path: Path, docnos: list[str]) -> None:
    found = pq.read_table(path, columns=["docno"]).column("docno").to_pylist()
    if found != docnos:
        raise DataError(
            f"{path} contains other documents: give the corpus with which the store was begun, or remove {path.parent}"
        )
