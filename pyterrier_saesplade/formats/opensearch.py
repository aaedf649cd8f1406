"""Bulk files for OpenSearch and Elasticsearch, with a mapping and an example query.

Both store a vector as the terms of one field, with the weights as term frequencies, and score by the dot product. The
folder contains everything that ``curl`` needs, here for an index called ``concepts``::

    curl -X PUT localhost:9200/concepts -H 'Content-Type: application/json' --data-binary @mapping.json
    for file in bulk-*.ndjson; do
        curl localhost:9200/concepts/_bulk -H 'Content-Type: application/x-ndjson' --data-binary @$file
    done
    curl -X POST localhost:9200/concepts/_refresh
    curl localhost:9200/concepts/_search -H 'Content-Type: application/json' --data-binary @query.json

The docno of a document is its ``_id``. The answer to a successful bulk request contains ``"errors":false``. Both store
weights with 9 significant bits: integers up to 512 are exact, and floats are off by at most 0.4 %. Names must not
contain dots, so a dot is written as two underscores, as in Elasticsearch's own models. The same applies to queries.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pyterrier_saesplade.errors import DataError
from pyterrier_saesplade.formats.jsonl import printed_toks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pyterrier_saesplade.formats.source import Source
    from pyterrier_saesplade.impacts import Terms

#: The field that holds the vector.
FIELD = "concepts"
#: Maximum size of a bulk file in bytes. By default servers accept requests of up to 100 MB; smaller ones are faster.
BULK_BYTES = 50_000_000
#: Maximum length of an ``_id`` in bytes.
_ID_BYTES = 512
#: Number of latents in the example query.
_EXAMPLE = 5


def write_opensearch(source: Source, folder: Path) -> None:
    """Writes a folder for OpenSearch, or for Elasticsearch 7.12 or later, with a field of type ``rank_features``.

    A query is a ``bool`` of ``rank_feature`` clauses. By default, servers accept at most 1,024 clauses.

    Args:
        source: The vectors.
        folder: The folder to create.

    Raises:
        DataError: If a docno is longer than 512 bytes, or two latents would have the same name.
    """
    _write(source, folder, {"type": "rank_features"})


def write_elasticsearch(source: Source, folder: Path) -> None:
    """Writes a folder for Elasticsearch 8.15 or later, with a field of type ``sparse_vector``.

    The query contains ``"prune": false``, because from 8.19 and 9.1 on Elasticsearch would otherwise leave out frequent
    latents with small weights.

    Args:
        source: The vectors.
        folder: The folder to create.

    Raises:
        DataError: If a docno is longer than 512 bytes, or two latents would have the same name.
    """
    _write(source, folder, {"type": "sparse_vector"})


def rank_features_query(toks: Mapping[str, float]) -> dict[str, Any]:
    """Returns the body of a search with the ``toks`` of a query, for :func:`write_opensearch`.

    Examples:
        >>> rank_features_query({"c12": 1.5})
        {'query': {'bool': {'should': [{'rank_feature': {'field': 'concepts.c12', 'linear': {}, 'boost': 1.5}}]}}}
    """
    clauses = [
        {"rank_feature": {"field": f"{FIELD}.{_feature(name)}", "linear": {}, "boost": weight}}
        for name, weight in toks.items()
    ]
    return {"query": {"bool": {"should": clauses}}}


def sparse_vector_query(toks: Mapping[str, float]) -> dict[str, Any]:
    """Returns the body of a search with the ``toks`` of a query, for :func:`write_elasticsearch`.

    Examples:
        >>> sparse_vector_query({"c12": 1.5})
        {'query': {'sparse_vector': {'field': 'concepts', 'query_vector': {'c12': 1.5}, 'prune': False}}}
    """
    vector = {_feature(name): weight for name, weight in toks.items()}
    return {"query": {"sparse_vector": {"field": FIELD, "query_vector": vector, "prune": False}}}


_QUERIES = {"rank_features": rank_features_query, "sparse_vector": sparse_vector_query}


def _write(source: Source, folder: Path, field: dict[str, str]) -> None:
    _check_distinct(source.terms)
    folder.mkdir()
    _dump({"mappings": {"properties": {FIELD: field}}}, folder / "mapping.json")
    for number, bulk in enumerate(_bulks(source)):
        (folder / f"bulk-{number:05d}.ndjson").write_bytes(bulk)
    example = next((toks for _, toks in _documents(source) if toks), {})
    heaviest = sorted(example, key=example.__getitem__, reverse=True)[:_EXAMPLE]
    _dump(_QUERIES[field["type"]]({name: example[name] for name in heaviest}), folder / "query.json")


def _bulks(source: Source) -> Iterator[bytes]:
    """Yields the content of the bulk files: as many documents as fit into one request."""
    bulk = bytearray()
    for docno, toks in _documents(source):
        action = {"index": {"_id": docno}}
        document = {FIELD: {_feature(name): weight for name, weight in toks.items()}}
        lines = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in (action, document)).encode()
        if bulk and len(bulk) + len(lines) > BULK_BYTES:
            yield bytes(bulk)
            bulk.clear()
        bulk += lines
    yield bytes(bulk)


def _documents(source: Source) -> Iterator[tuple[str, dict[str, float]]]:
    for docnos, vectors in source.batches():
        for docno, toks in zip(docnos, printed_toks(vectors, source.terms), strict=True):
            if len(docno.encode()) > _ID_BYTES:
                raise DataError(f"the docno {docno!r} is longer than {_ID_BYTES} bytes, the limit of an _id")
            yield docno, toks


def _feature(name: str) -> str:
    return name.replace(".", "__")


def _check_distinct(terms: Terms) -> None:
    features: dict[str, str] = {}
    for name in map(terms.name, range(len(terms))):
        other = features.setdefault(_feature(name), name)
        if other != name:
            raise DataError(f"the latents {other!r} and {name!r} would both be named {_feature(name)!r}")


def _dump(content: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
