"""Milvus: float concept vectors in a vector database, embedded in the folder of the index or on a cluster."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import uuid
import weakref
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple
from urllib.parse import urlsplit

import numpy as np
from more_itertools import chunked

from pyterrier_saesplade.checks import require_positive
from pyterrier_saesplade.engines.frames import Hits
from pyterrier_saesplade.engines.index import ConceptIndex
from pyterrier_saesplade.engines.native import library
from pyterrier_saesplade.errors import DataError, EngineError, PathExistsError, PathNotFoundError, SettingError
from pyterrier_saesplade.files import read_json
from pyterrier_saesplade.vectors import ConceptVectors, best_first

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pymilvus import MilvusClient

    from pyterrier_saesplade.engines.spool import Spool
    from pyterrier_saesplade.impacts import Quantization, Terms

#: The environment variable that holds the token of a cluster, or ``user:password``.
TOKEN = "MILVUS_TOKEN"

_DESCRIPTION = "milvus.json"

#: The alias inside an embedded database.
_EMBEDDED = "concepts"

#: Number of documents per upsert. They take a few megabytes, far less than the 64 that a server accepts.
_BATCH = 1000

#: Milvus's limits on results per query and on the bytes of a VARCHAR.
_MAX_RESULTS = 16_384
_MAX_DOCNO = 65_535

#: Maximum number of hits per call. Their docnos must fit into one message.
_HITS_PER_CALL = 100_000


class MilvusConceptIndex(ConceptIndex):
    """A Milvus collection with the fields ``position`` (the key), ``docno`` and ``vector``.

    By default the collection is in a Milvus Lite database in the folder of the index. Milvus Lite is made for one
    process at a time and some ten thousand documents. With the build option ``uri`` the collection is on a server or a
    cluster. The folder then holds the description, the statistics and the name of the collection. Tokens and passwords
    are never written: they are read from the environment variable ``MILVUS_TOKEN``.

    Build options are passed to an indexer as ``engine_options``; see :meth:`write`.

    Args:
        path: The folder of the index.
        uri: The current address of the collection, if it has moved since it was built.

    Examples:
        >>> index = model.indexer("concepts.milvus", "milvus").index(store)
        >>> len(index)
        12

        On a cluster:

        .. code-block:: python

            cluster = {"uri": "http://milvus.example.org:19530", "collection": "msmarco", "num_shards": 4}
            index = model.indexer("msmarco.index", "milvus", engine_options=cluster).index(store)
    """

    ARTIFACT_FORMAT: ClassVar[str] = "milvus"
    default_quantization: ClassVar[Quantization | None] = None
    packages: ClassVar[tuple[str, ...]] = ("pymilvus", "milvus-lite")

    def __init__(self, path: str | os.PathLike[str], uri: str | None = None) -> None:
        super().__init__(path)
        if uri is not None:
            _check_uri(uri)
        self.uri = uri

    @property
    def search_options(self) -> dict[str, Any]:
        """The address of the collection."""
        return {"uri": self.uri}

    @classmethod
    def prepare(
        cls,
        *,
        uri: str | None = None,
        collection: str | None = None,
        num_shards: int | None = None,
        num_partitions: int | None = None,
        overwrite: bool = False,
    ) -> None:
        """Checks that Milvus is installed, that a cluster answers, and that the collection does not exist there.

        Raises:
            SettingError: If an option is invalid.
            EngineError: If the connection to ``uri`` fails.
            PathExistsError: If the collection exists and must not be overwritten.
        """
        _pymilvus()
        require_positive(num_shards=num_shards, num_partitions=num_partitions)
        if (uri is None) != (collection is None):
            raise SettingError("uri and collection go together: pass both for a collection on a cluster, or neither")
        if uri is None or collection is None:
            return
        _check_uri(uri)
        if not (isinstance(collection, str) and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,199}", collection)):
            raise SettingError(
                f"collection must start with a letter or _, followed by at most 199 letters, digits and _, not "
                f"{collection!r}"
            )
        with _connected(uri) as client:
            current = _current(client, collection)
        if current is None:
            return
        if not _is_build(current, collection):
            raise PathExistsError(f"{collection} at {uri} was not built by this package: choose another collection")
        if not overwrite:
            raise PathExistsError(
                f"the collection {collection} exists at {uri} already: choose another name, or pass overwrite=True"
            )

    @classmethod
    def write(
        cls,
        folder: Path,
        spool: Spool,
        terms: Terms,
        *,
        uri: str | None = None,
        collection: str | None = None,
        num_shards: int | None = None,
        num_partitions: int | None = None,
        overwrite: bool = False,
    ) -> None:
        """Uploads the documents to a collection that is named after its content, then points an alias at it.

        The key of a document is its position, and a digest of the content is part of the collection's name. If a killed
        build is repeated with the same documents, it resumes where it stopped, and builds are never mixed. An
        unfinished collection of other documents is dropped. At the end, the alias is moved in one step.

        Args:
            folder: The folder of the index.
            spool: The documents. Empty documents are not uploaded, because Milvus rejects them.
            terms: Not used: latents are the dimensions.
            uri: The address of a server or cluster, ``http://host:port[/database]``; ``None`` for an embedded database.
            collection: The name of the collection there (to Milvus, an alias).
            num_shards: Number of shards that a cluster writes to in parallel. Milvus Lite has one shard.
            num_partitions: Number of partitions by hash of the docno; one by default. Milvus Lite creates 16 if this is
                set.
            overwrite: Whether to replace a collection of that name that this package built.

        Raises:
            DataError: If a docno is longer than Milvus allows.
            EngineError: If Milvus does not hold every document at the end.
        """
        cls.prepare(
            uri=uri, collection=collection, num_shards=num_shards, num_partitions=num_partitions, overwrite=overwrite
        )
        settings = {"num_shards": num_shards, "num_partitions": num_partitions}
        content = _survey(spool, settings)
        alias = collection or _EMBEDDED
        name = f"{alias}_saesplade_{content.digest}"
        # The name is new each time, because this process may still have a replaced database open under its path.
        place = uri or f"milvus-{uuid.uuid4().hex[:8]}.db"
        with _connected(_address(place, folder)) as client:
            current = _current(client, alias)
            _drop_builds(client, alias, keep=(name, current))
            _upload(client, name, spool, content, settings)
            if current is None:
                client.create_alias(name, alias)
            elif current != name:
                client.alter_alias(name, alias)
            _drop_builds(client, alias, keep=(name,))
            description = {"uri": place, "collection": name, "version": client.get_server_version()}
        (folder / _DESCRIPTION).write_text(json.dumps(description, indent=1), encoding="utf-8")

    @property
    def collection(self) -> str:
        """The name of the collection in Milvus."""
        return str(self._description["collection"])

    @property
    def client(self) -> MilvusClient:
        """The plain ``MilvusClient``, connected."""
        return self._database.client

    def search(self, queries: ConceptVectors, num_results: int) -> list[Hits]:
        """Searches with Milvus, with many queries per call; see :meth:`ConceptIndex.search`.

        Scores have the precision of 32-bit floats. If several documents tie for the last rank, Milvus chooses.

        Raises:
            SettingError: If ``num_results`` is above Milvus's limit.
            PathNotFoundError: If the collection no longer exists.
        """
        if num_results > _MAX_RESULTS:
            raise SettingError(f"Milvus returns at most {_MAX_RESULTS} results per query: {num_results} are too many")
        queries = queries.where(queries.weights > 0)
        hits = [Hits([], np.empty(0))] * len(queries)
        searched = np.flatnonzero(np.diff(queries.indptr))
        step = max(1, _HITS_PER_CALL // num_results)
        for some in np.split(searched, range(step, len(searched), step)):
            if len(some):
                found = self.client.search(
                    self.collection,
                    data=list(_vectors(queries.take(some))),
                    anns_field="vector",
                    limit=num_results,
                    output_fields=["docno"],
                )
                for query, rows in zip(some.tolist(), found, strict=True):
                    hits[query] = _ranked(rows)
        return hits

    @cached_property
    def _description(self) -> dict[str, Any]:
        description: dict[str, Any] = read_json(self._folder / _DESCRIPTION)
        return description

    @cached_property
    def _database(self) -> _Database:
        _pymilvus()
        database = _Database.at(_address(self.uri or self._description["uri"], self._folder))
        if not database.client.has_collection(self.collection):
            raise PathNotFoundError(
                f"the collection {self.collection} of {self.path} is not at {database.address}: it was replaced or "
                "dropped. Build the index again"
            )
        database.client.load_collection(self.collection)  # does nothing if it is already loaded
        return database


class _Database:
    """A connection that the indexes of a process share. An embedded Milvus stops with the last of these indexes."""

    _open: ClassVar[weakref.WeakValueDictionary[str, _Database]] = weakref.WeakValueDictionary()

    def __init__(self, address: str) -> None:
        if not _is_remote(address) and not Path(address).exists():
            raise PathNotFoundError(f"there is no database {address}: copy the whole folder of the index")
        self.address = address
        self.client = _connect(address)
        weakref.finalize(self, _disconnect, self.client, address)

    @classmethod
    def at(cls, address: str) -> _Database:
        database = cls._open.get(address)
        if database is None:
            database = cls._open[address] = cls(address)
        return database


class _Content(NamedTuple):
    """Facts about the documents that are needed before the first one is uploaded."""

    digest: str
    n_rows: int
    docno_bytes: int


def _survey(spool: Spool, settings: Mapping[str, Any]) -> _Content:
    columns = [hashlib.sha256() for _ in range(4)]  # one per column, so that the digest does not depend on batch sizes
    n_rows = docno_bytes = 0
    for docnos, vectors in _positive(spool):
        lengths = np.diff(vectors.indptr)
        n_rows += int(np.count_nonzero(lengths))
        docno_bytes = max(docno_bytes, *(len(docno.encode()) for docno in docnos))
        texts = "".join(f"{docno}\n" for docno in docnos).encode()
        parts = (texts, lengths.tobytes(), vectors.latents.tobytes(), vectors.weights.tobytes())
        for column, part in zip(columns, parts, strict=True):
            column.update(part)
    if docno_bytes > _MAX_DOCNO:
        raise DataError(f"the longest docno has {docno_bytes} bytes; Milvus allows {_MAX_DOCNO}")
    summary = json.dumps([settings, [column.hexdigest() for column in columns]])
    return _Content(hashlib.sha256(summary.encode()).hexdigest()[:16], n_rows, docno_bytes)


def _positive(spool: Spool) -> Iterator[tuple[list[str], ConceptVectors]]:
    """Yields the batches without zero weights. Milvus drops them, and rejects vectors that have no other weights."""
    for docnos, vectors in spool:
        yield docnos, vectors.where(vectors.weights > 0)


def _rows(spool: Spool) -> Iterator[dict[str, Any]]:
    position = 0
    for docnos, vectors in _positive(spool):
        for docno, vector in zip(docnos, _vectors(vectors), strict=True):
            if vector:
                yield {"position": position, "docno": docno, "vector": vector}
            position += 1


def _vectors(vectors: ConceptVectors) -> Iterator[dict[int, float]]:
    for text in range(len(vectors)):
        latents, weights = vectors.row(text)
        yield dict(zip(latents.tolist(), weights.astype(float).tolist(), strict=True))


def _upload(
    client: MilvusClient, name: str, spool: Spool, content: _Content, settings: Mapping[str, int | None]
) -> None:
    _create(client, name, content.docno_bytes, settings)
    # Batches arrive in order. Whatever is already uploaded is therefore the beginning of the documents, except for the
    # last batch: it may be incomplete, because shards store their parts independently.
    uploaded = max(0, _count(client, name) - _BATCH)
    for rows in chunked(islice(_rows(spool), uploaded, None), _BATCH):
        client.upsert(name, list(rows))
    client.flush(name)
    count = _count(client, name)
    if count != content.n_rows:
        raise EngineError(f"Milvus holds {count} of {content.n_rows} documents in {name}")


def _create(client: MilvusClient, name: str, docno_bytes: int, settings: Mapping[str, int | None]) -> None:
    """Creates the collection and its index unless they exist, and loads the collection."""
    types = _pymilvus().DataType
    if not client.has_collection(name):
        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("position", types.INT64, is_primary=True)
        by_docno = settings["num_partitions"] is not None
        schema.add_field("docno", types.VARCHAR, max_length=docno_bytes, is_partition_key=by_docno)
        schema.add_field("vector", types.SPARSE_FLOAT_VECTOR)
        given = {option: number for option, number in settings.items() if number is not None}
        # Searches need not wait for writes, because there are none after the build has counted the documents.
        client.create_collection(name, schema=schema, consistency_level="Eventually", **given)
    if not client.list_indexes(name):
        index = client.prepare_index_params()
        # The algorithm is not named: a server uses DAAT_MAXSCORE by default, a name that Milvus Lite rejects.
        index.add_index("vector", index_type="SPARSE_INVERTED_INDEX", metric_type="IP")
        client.create_index(name, index, sync=False)  # there are no documents to wait for
    client.load_collection(name)


def _count(client: MilvusClient, name: str) -> int:
    (row,) = client.query(name, output_fields=["count(*)"], consistency_level="Strong")
    return int(row["count(*)"])


def _current(client: MilvusClient, alias: str) -> str | None:
    """Returns the collection behind an alias, or the collection that itself has this name, or ``None``."""
    if alias in client.list_aliases()["aliases"]:
        return str(client.describe_alias(alias)["collection_name"])
    return alias if client.has_collection(alias) else None


def _is_build(name: str, alias: str) -> bool:
    return re.fullmatch(rf"{alias}_saesplade_[0-9a-f]{{16}}", name) is not None


def _drop_builds(client: MilvusClient, alias: str, keep: tuple[str | None, ...]) -> None:
    for name in client.list_collections():
        if _is_build(name, alias) and name not in keep:
            client.drop_collection(name)


def _ranked(rows: Any) -> Hits:
    positions = np.array([row["position"] for row in rows], np.int64)
    scores = np.array([row["distance"] for row in rows], np.float64)
    order = best_first(scores, positions, len(scores))
    order = order[scores[order] > 0]
    return Hits([rows[place]["entity"]["docno"] for place in order.tolist()], scores[order])


def _check_uri(uri: str) -> None:
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https", "tcp") or not parts.hostname:
        raise SettingError(f"uri must be the address of a server, http://host:port, not {uri!r}")
    if parts.username is not None:
        raise SettingError(f"uri must not contain a password, because it is stored: put user:password into {TOKEN}")


def _is_remote(address: str) -> bool:
    return "://" in address


def _address(place: str, folder: Path) -> str:
    return place if _is_remote(place) else str(folder.resolve() / place)


@contextmanager
def _connected(address: str) -> Iterator[MilvusClient]:
    client = _connect(address)
    try:
        yield client
    finally:
        _disconnect(client, address)


def _connect(address: str) -> MilvusClient:
    pymilvus = _pymilvus()
    try:
        with _silence():
            return pymilvus.MilvusClient(address, token=os.environ.get(TOKEN, ""))
    except pymilvus.MilvusException as error:
        if _is_remote(address):
            message = f"cannot connect to Milvus at {address}: check that it is running, and the token in {TOKEN}"
            raise EngineError(message) from error
        raise EngineError(
            f"Milvus Lite cannot open {address}: probably another process has it open, and only one process can. To "
            f"share it, run `milvus-lite server --host 127.0.0.1 --data-dir {address}` and open the index with "
            "MilvusConceptIndex(path, uri='http://127.0.0.1:19530')"
        ) from error


def _disconnect(client: MilvusClient, address: str) -> None:
    client.close()
    if not _is_remote(address):
        from milvus_lite.server_manager import server_manager_instance

        server_manager_instance.release_server(address)


@contextmanager
def _silence() -> Iterator[None]:
    """Prevents the libraries from logging, with a traceback, errors that they also raise."""
    levels = {name: logging.getLogger(name).level for name in ("pymilvus", "milvus_lite")}
    try:
        for name in levels:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _pymilvus() -> Any:
    return library("milvus", "pymilvus and milvus-lite", "pymilvus", "milvus_lite")
