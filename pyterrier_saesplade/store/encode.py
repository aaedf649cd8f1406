"""Texts to a store: part after part, in as many jobs as one likes."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import pyarrow.parquet as pq
import torch
from more_itertools import chunked
from tqdm.auto import tqdm

from pyterrier_saesplade.documents import DistinctDocnos, encode_documents, field
from pyterrier_saesplade.errors import DataError, SettingError
from pyterrier_saesplade.files import METADATA, claim, release, require_new
from pyterrier_saesplade.protocols import ConceptModel
from pyterrier_saesplade.store.reader import StoredVectors
from pyterrier_saesplade.store.write import PART_DOCUMENTS, WINDOW_DOCUMENTS, part_path, write_manifest, write_part


class Corpus(Protocol):
    """Documents that can be iterated over again; a collection or a data set of PyTerrier is one."""

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

    The corpus is cut into parts of ``part_documents`` documents, a Parquet file each. A file appears when it is
    complete, so a job that was killed goes on, when it is started again, with the first part that is missing; part by
    part, the bytes are those of a run that was not killed. Several jobs, on one machine or on many that share the
    folder, each encode the parts that fall to their shard; the job that finds all shards done writes the manifest.

    Args:
        model: The model.
        corpus: The documents.
        out: The folder. One that holds unfinished work of the same model is continued.
        shard: ``(i, n)``: this job is number ``i``, from 0, of ``n``.
        workers: Processes that share this job's parts; on a machine with several GPUs one for each is meant.
        half: Store weights in 16 bits, a relative precision of 2^-11.
        part_documents: Documents in a file.
        verbose: Whether to show progress.

    Returns:
        The store; ``None`` if other shards are not done yet.

    Raises:
        FileExistsError: If ``out`` is a finished store, holds work of another model or with other settings, or is
            something else.
        ValueError: If the corpus has no document, a docno is empty or occurs twice, or parts that are there were made
            of other documents.

    Examples:
        >>> store = encode_corpus(model, dataset, "vectors")
        >>> index = model.indexer("concepts.exact", "exact").index(store)
    """
    if not 0 <= shard[0] < shard[1]:
        raise SettingError(f"shard must be (i, n) with i from 0 to n - 1, not {shard}")
    if workers < 1 or part_documents < 1:
        raise SettingError(f"workers and part_documents must be positive, not {workers} and {part_documents}")
    if not hasattr(corpus, "get_corpus_iter"):
        raise SettingError(
            f"a corpus must have get_corpus_iter, to be read again; open_collection opens one: {corpus!r}"
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
    """The files of a store that is being made."""

    def __init__(self, model: ConceptModel, folder: Path, half: bool, size: int) -> None:
        self.model = model
        self.folder = folder
        self.half = half
        self.size = size

    def encode(self, corpus: Corpus, shard: tuple[int, int], verbose: bool) -> int:
        """Encodes those parts of a shard that are missing, and returns how many parts the corpus has."""
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
        """Writes the manifest if all parts are there."""
        if count == 0:
            raise DataError("there are no documents to encode: the corpus is empty")
        paths = [part_path(self.folder, number) for number in range(count)]
        if not all(path.exists() for path in paths):
            return None
        if set(self.folder.glob("part-*.parquet")) - set(paths):
            raise DataError(f"{self.folder} has parts of a larger corpus: name another folder, or remove it")
        write_manifest(self.folder, self.model, paths)
        release(self.folder)
        return StoredVectors(self.folder)

    def _write(self, path: Path, documents: Sequence[Mapping[str, Any]]) -> None:
        encoded = [encode_documents(self.model, window) for window in chunked(documents, WINDOW_DOCUMENTS)]
        write_part(path, self.model, encoded, half=self.half)


def _encode_together(parts: _Parts, corpus: Corpus, shard: tuple[int, int], workers: int, verbose: bool) -> int:
    shares = [(shard[0] + shard[1] * worker, shard[1] * workers) for worker in range(workers)]
    # Not forked: torch's threads and Java's do not survive that.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        jobs = [
            pool.submit(_work, parts, corpus, share, worker, workers, verbose) for worker, share in enumerate(shares)
        ]
        return max(job.result() for job in jobs)


def _work(parts: _Parts, corpus: Corpus, share: tuple[int, int], worker: int, workers: int, verbose: bool) -> int:
    """Encodes a share in a process of its own, with its part of the cores or a GPU of its own."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
    if torch.cuda.is_available():
        torch.cuda.set_device(worker % torch.cuda.device_count())
    return parts.encode(corpus, share, verbose and worker == 0)


def _check_same(path: Path, docnos: list[str]) -> None:
    found = pq.read_table(path, columns=["docno"]).column("docno").to_pylist()
    if found != docnos:
        raise DataError(
            f"{path} was made of other documents: give the corpus that the work was begun with, or remove {path.parent}"
        )
