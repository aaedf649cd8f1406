"""The base classes of systems, and the cache of the indexes that they share."""

from __future__ import annotations

import json
import logging
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from pyterrier_saesplade.collections import Collection, TextTable, check_identifier, passages_of
from pyterrier_saesplade.engines import java_length
from pyterrier_saesplade.errors import DataError, SettingError
from pyterrier_saesplade.files import atomic_write, read_json, size_on_disk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pyterrier as pt

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Corpus:
    """The documents of a collection, read once.

    Attributes:
        collection: The collection that has the documents.
        digest: SHA-256 of all docnos and texts, in order.
        n_docs: The number of documents.
        docno_length: The length of the longest docno in UTF-16 units, as Java counts it.
    """

    collection: Collection
    digest: str
    n_docs: int
    docno_length: int

    @classmethod
    def read(cls, collection: Collection) -> Corpus:
        """Reads all documents of a collection once.

        Raises:
            DataError: If there are no documents, or a docno cannot be written to a run file.
        """
        digest, n_docs, docno_length = sha256(), 0, 0
        for document in collection.get_corpus_iter():
            check_identifier(f"documents of {collection.name}", "docno", document["docno"])
            digest.update(f"{document['docno']}\t{len(document['text'])}\t{document['text']}\n".encode())
            n_docs += 1
            docno_length = max(docno_length, java_length(document["docno"]))
        if n_docs == 0:
            raise DataError(f"the collection {collection.name} has no documents")
        return cls(collection, digest.hexdigest(), n_docs, docno_length)

    def documents(self) -> Iterator[dict[str, str]]:
        """Yields what every system indexes: ``docno`` and ``text``, which begins with the title."""
        for document in self.collection.get_corpus_iter():
            yield {"docno": document["docno"], "text": document["text"]}

    def passages(self) -> TextTable:
        """Returns the texts by docno, for systems that rerank."""
        return passages_of(self.collection)


class Artifact(ABC):
    """Something that is built from a corpus and kept on disk: an index, or what several indexes are built from.

    Attributes:
        name: The first part of the name of its folder.
        built_from: The artifacts that it is built from.
        resumes: Whether an interrupted build resumes in the folder that it left behind.
    """

    name: str
    built_from: Sequence[Artifact] = ()
    resumes: ClassVar[bool] = False

    @property
    @abstractmethod
    def identity(self) -> str:
        """Everything that it depends on except the documents; an existing artifact of the same identity is reused."""

    @abstractmethod
    def build(self, artifacts: ArtifactCache, path: Path) -> None:
        """Builds it from ``artifacts.corpus`` at ``path``, which only exists if an interrupted build left it."""


class BuiltArtifact(NamedTuple):
    """An artifact on disk.

    Attributes:
        path: The folder.
        seconds: The duration of the build; NaN if it was resumed.
    """

    path: Path
    seconds: float


class ArtifactCache:
    """The artifacts of the systems that are compared on a corpus; each is built once and kept.

    Args:
        corpus: The documents.
        folder: The folder to keep artifacts in; it may hold artifacts of other corpora too.
    """

    def __init__(self, corpus: Corpus, folder: Path) -> None:
        self.corpus = corpus
        self._folder = folder

    def path(self, artifact: Artifact) -> Path:
        """Returns the path of an artifact, which is built if it is missing."""
        return self.built(artifact).path

    def seconds(self, artifact: Artifact) -> float:
        """Returns the seconds that it took to build an artifact and everything that it is built from."""
        return self.built(artifact).seconds + sum(self.seconds(other) for other in artifact.built_from)

    def built(self, artifact: Artifact) -> BuiltArtifact:
        """Builds an artifact, or finds it if it was built before."""
        key = {"system": artifact.identity, "documents": self.corpus.digest}
        digest = sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]
        home = self._folder / f"{artifact.name}-{digest}"
        if not (home / "build.json").exists():
            for other in artifact.built_from:
                self.built(other)
            _log.info("%s: indexing %s documents", artifact.name, f"{self.corpus.n_docs:,}")
            if artifact.resumes:
                home.mkdir(parents=True, exist_ok=True)
                self._build(artifact, home, key)
            else:
                with atomic_write(home) as staging:
                    staging.mkdir()
                    self._build(artifact, staging, key)
        record = read_json(home / "build.json")
        seconds = record["build_seconds"]
        return BuiltArtifact(home / "index", float("nan") if seconds is None else seconds)

    def _build(self, artifact: Artifact, folder: Path, key: dict[str, str]) -> None:
        start, resumed = time.perf_counter(), (folder / "index").exists()
        artifact.build(self, folder / "index")
        record = key | {"build_seconds": None if resumed else time.perf_counter() - start}
        (folder / "build.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


class System(ABC):
    """A system of a comparison, which is a row of its table.

    Attributes:
        name: The name of the row.
        note: A description of the system and its settings, for the notes below the table.
        searched: The artifacts that it searches.
        encodes_apart: Whether encoding is a separate transformer, so that encoding and retrieval are timed separately.
    """

    name: str
    note: str
    searched: Sequence[Artifact] = ()
    encodes_apart: ClassVar[bool] = True

    @property
    def settings(self) -> list[str]:
        """What its results depend on besides its name, the documents and the queries.

        Where models are stored and where they run does not count.
        """
        return [artifact.identity for artifact in self.searched]

    @abstractmethod
    def stages(
        self, artifacts: ArtifactCache, *, ignore_identical_ids: bool = False
    ) -> tuple[pt.Transformer, pt.Transformer]:
        """Returns two transformers: one that encodes queries, and one that retrieves documents for them.

        Args:
            artifacts: The artifacts of the corpus.
            ignore_identical_ids: Whether every search drops the document whose docno is the query's qid. It is dropped
                before feedback and fusion.
        """

    def scorer(self, artifacts: ArtifactCache) -> pt.Transformer:
        """Returns a transformer that scores given results (``qid``, ``query``, ``docno``) and loads their texts itself.

        Raises:
            SettingError: If the system cannot score given results.
        """
        raise SettingError(
            f"{self.name} retrieves documents but cannot score given ones: name another teacher, such as bm25, "
            "dense=NAME or cross-encoder=NAME"
        )

    def qd_flops(self, artifacts: ArtifactCache, queries: Sequence[str]) -> float | None:
        """Returns the QD-FLOPs of queries; ``None`` for a system without an inverted index.

        Feedback is computed without ``ignore_identical_ids`` here.
        """
        return None

    def index_mb(self, artifacts: ArtifactCache) -> float | None:
        """Returns the size on disk of the artifacts that it searches, in 10^6 bytes; ``None`` if it is unknown."""
        if not self.searched:
            return None
        # The systems of a fusion may search the same index.
        return sum(map(size_on_disk, {artifacts.path(artifact) for artifact in self.searched})) / 1e6

    def build_seconds(self, artifacts: ArtifactCache) -> float | None:
        """Returns the seconds that it took to encode and index all documents, in any process; ``None`` if unknown."""
        if not self.searched:
            return None
        distinct = {artifacts.path(artifact): artifact for artifact in self.searched}
        return sum(map(artifacts.seconds, distinct.values()))


class IndexedSystem(System, Artifact):
    """A system with one index of its own."""

    @property
    def searched(self) -> Sequence[Artifact]:  # type: ignore[override]
        """The system itself."""
        return (self,)
