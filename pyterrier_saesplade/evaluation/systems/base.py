"""What every system of a comparison is, and the cache of the indexes that systems are built on."""

from __future__ import annotations

import json
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import ClassVar, NamedTuple

import pyterrier as pt

from pyterrier_saesplade.collections import Collection, TextTable, check_identifier, passages_of
from pyterrier_saesplade.engines import java_length
from pyterrier_saesplade.errors import DataError, SettingError
from pyterrier_saesplade.files import atomic_write, size_on_disk

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Corpus:
    """The documents of a collection, read once.

    Attributes:
        collection: Where they come from.
        digest: SHA-256 of all docnos and texts, in order.
        n_docs: The number of documents.
        docno_length: The length of the longest docno in UTF-16 units, as Java counts.
    """

    collection: Collection
    digest: str
    n_docs: int
    docno_length: int

    @classmethod
    def read(cls, collection: Collection) -> Corpus:
        """Reads all documents once.

        Raises:
            DataError: If there are none, or a docno cannot be written to a run file.
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
        """Yields ``docno`` and ``text`` (which begins with the title): what every system indexes."""
        for document in self.collection.get_corpus_iter():
            yield {"docno": document["docno"], "text": document["text"]}

    def passages(self) -> TextTable:
        """Returns the texts by docno, for systems that re-rank."""
        return passages_of(self.collection)


class Artifact(ABC):
    """Something that is built from a corpus and kept: an index, or what several indexes are built from.

    Attributes:
        name: The beginning of its folder's name.
        built_from: The artifacts that it is built from.
        resumes: Whether a killed build resumes in the folder that it left behind.
    """

    name: str
    built_from: Sequence[Artifact] = ()
    resumes: ClassVar[bool] = False

    @property
    @abstractmethod
    def identity(self) -> str:
        """Everything that it depends on except the documents: an artifact of equal identity is used again."""

    @abstractmethod
    def build(self, artifacts: ArtifactCache, path: Path) -> None:
        """Builds it from ``artifacts.corpus`` at ``path``, which does not exist unless a killed build left it."""


class BuiltArtifact(NamedTuple):
    """An artifact on disk.

    Attributes:
        path: Its folder.
        seconds: How long the build took; NaN if an earlier process had begun it.
    """

    path: Path
    seconds: float


class ArtifactCache:
    """The artifacts of the systems that are compared on one corpus, each built once and kept.

    Args:
        corpus: The documents.
        folder: Where artifacts are kept, also those of other corpora.
    """

    def __init__(self, corpus: Corpus, folder: Path) -> None:
        self.corpus = corpus
        self._folder = folder

    def path(self, artifact: Artifact) -> Path:
        """Returns where an artifact is; a missing one is built."""
        return self.built(artifact).path

    def seconds(self, artifact: Artifact) -> float:
        """Returns how long it took to build an artifact and everything that it is built from."""
        return self.built(artifact).seconds + sum(self.seconds(other) for other in artifact.built_from)

    def built(self, artifact: Artifact) -> BuiltArtifact:
        """Builds an artifact, or finds the one that was built before."""
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
        record = json.loads((home / "build.json").read_text(encoding="utf-8"))
        seconds = record["build_seconds"]
        return BuiltArtifact(home / "index", float("nan") if seconds is None else seconds)

    def _build(self, artifact: Artifact, folder: Path, key: dict[str, str]) -> None:
        start, resumed = time.perf_counter(), (folder / "index").exists()
        artifact.build(self, folder / "index")
        record = key | {"build_seconds": None if resumed else time.perf_counter() - start}
        (folder / "build.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


class System(ABC):
    """A system of a comparison: a row of its table.

    Attributes:
        name: The name of the row.
        note: What the system is, with its settings, for the notes below the table.
        searched: The artifacts that it searches.
        encodes_apart: Whether encoding is a transformer of its own, so that its time is reported apart from that of
            retrieval.
    """

    name: str
    note: str
    searched: Sequence[Artifact] = ()
    encodes_apart: ClassVar[bool] = True

    @property
    def settings(self) -> list[str]:
        """What its results depend on besides its name, the documents and the queries; not where models are or run."""
        return [artifact.identity for artifact in self.searched]

    @abstractmethod
    def stages(
        self, artifacts: ArtifactCache, *, ignore_identical_ids: bool = False
    ) -> tuple[pt.Transformer, pt.Transformer]:
        """Returns what encodes queries, and what retrieves for them.

        Args:
            artifacts: The artifacts of the corpus.
            ignore_identical_ids: Whether every search drops the document whose docno is the query's qid, before
                feedback and fusion see it.
        """

    def scorer(self, artifacts: ArtifactCache) -> pt.Transformer:
        """Returns what scores given results (``qid``, ``query``, ``docno``); it loads the texts that it needs.

        Raises:
            SettingError: If the system can only retrieve.
        """
        raise SettingError(
            f"{self.name} retrieves documents but cannot score given ones: name another teacher, such as bm25, "
            "dense=NAME or cross-encoder=NAME"
        )

    @property
    def standardised_as_teacher(self) -> bool:
        """Whether a student learns from z-scores instead of scores: cosines differ too little as they are."""
        return False

    def qd_flops(self, artifacts: ArtifactCache, queries: Sequence[str]) -> float | None:
        """Returns the QD-FLOPs of these queries; ``None`` for a system without an inverted index.

        Queries with feedback may have learned from the document of their own qid.
        """
        return None

    def index_mb(self, artifacts: ArtifactCache) -> float | None:
        """Returns the size on disk of what it searches, in 10^6 bytes; ``None`` if that is not known."""
        if not self.searched:
            return None
        return sum(size_on_disk(artifacts.path(artifact)) for artifact in self.searched) / 1e6

    def build_seconds(self, artifacts: ArtifactCache) -> float | None:
        """Returns how long it took to encode and index all documents, whichever process did it; ``None``: not known."""
        if not self.searched:
            return None
        return sum(artifacts.seconds(artifact) for artifact in self.searched)


class IndexedSystem(System, Artifact):
    """A system with one index of its own."""

    @property
    def searched(self) -> Sequence[Artifact]:  # type: ignore[override]
        """Itself."""
        return (self,)
