"""Runs ``pyserini.search.lucene`` with models of this package: ``python -m pyserini_bridge.search``."""

from __future__ import annotations

import argparse
import runpy
import sys
from pathlib import Path
from typing import Any

from pyserini_bridge import compat
from pyserini_bridge.encoders import SCHEME, SaeQueryEncoder
from pyterrier_saesplade.collections import read_topics
from pyterrier_saesplade.engines import lift_clause_limit
from pyterrier_saesplade.errors import PathNotFoundError
from pyterrier_saesplade.files import METADATA
from pyterrier_saesplade.mistakes import reported

_PYSERINI = "pyserini.search.lucene"
_TABLES = (".tsv", ".tsv.gz", ".txt", ".txt.gz")


def main() -> None:
    """Runs Pyserini's command with the arguments of this command.

    Apart from the encoder, defaults differ: ``--impact``, ``--min-idf -1`` (0 would leave out latents that occur in
    every document), no limit on the number of terms in a query, and support for empty topics.
    """
    parser = argparse.ArgumentParser(
        prog="python -m pyserini_bridge.search",
        description=f"Search an impact index. All options of python -m {_PYSERINI} can be added.",
        allow_abbrev=False,
    )
    parser.add_argument("--index", required=True, help="folder of the index")
    parser.add_argument("--topics", required=True, help="file of qid<TAB>query lines, or one of Pyserini's topic sets")
    parser.add_argument("--encoder", help=f"{SCHEME}MODEL, or one of Pyserini's encoders; omit if topics are encoded")
    parser.add_argument("--vectors", help="exported vectors that the index was built from, if another command built it")
    parser.add_argument("--device", help="device of the model, such as cpu or cuda:1; by default the first GPU if any")
    parser.add_argument("--min-idf", default="-1", help="ignore query terms with a lower idf (default: %(default)s)")
    arguments, others = parser.parse_known_args()
    with reported(parser.prog):
        if not Path(arguments.index).is_dir():
            raise PathNotFoundError(f"there is no index at {arguments.index}")
        encoder = _open_encoder(arguments)
        if arguments.topics.endswith(_TABLES) and not Path(arguments.topics).is_file():
            raise PathNotFoundError(f"there is no topics file at {arguments.topics}")
        compat.prepare()
    passed = ["--impact", "--index", arguments.index, "--topics", arguments.topics, "--min-idf", arguments.min_idf]
    if arguments.encoder is not None:
        passed += ["--encoder", arguments.encoder]
    sys.argv[1:] = [*passed, *(argument for argument in others if argument != "--impact")]
    lift_clause_limit()
    _patch_pyserini(encoder)
    runpy.run_module(_PYSERINI, run_name="__main__", alter_sys=True)


def _open_encoder(arguments: argparse.Namespace) -> SaeQueryEncoder | None:
    if arguments.encoder is None or not arguments.encoder.startswith(SCHEME):
        return None
    described = arguments.vectors
    if described is None and Path(arguments.index, METADATA).exists():
        described = arguments.index
    return SaeQueryEncoder(arguments.encoder.removeprefix(SCHEME), described, device=arguments.device)


def _patch_pyserini(encoder: SaeQueryEncoder | None) -> None:
    """Makes Pyserini use this encoder and accept empty queries. Queries are encoded together once they are read."""
    import pyserini.query_iterator as iterators
    from pyserini.search.lucene import LuceneImpactSearcher

    find_encoder, find_queries = LuceneImpactSearcher._init_query_encoder_from_str, iterators.get_query_iterator

    def init_query_encoder(name: str | None) -> Any:
        found = encoder if name is not None and name.startswith(SCHEME) else find_encoder(name)
        if found is None:
            raise SystemExit(f"Pyserini has no encoder {name!r}; for a model of this package, use {SCHEME}{name}")
        return found

    def get_query_iterator(topics: str, topics_format: Any) -> Any:
        plain = topics_format == iterators.TopicsFormat.DEFAULT and topics.endswith(_TABLES)
        queries = _read(topics) if plain and Path(topics).is_file() else find_queries(topics, topics_format)
        if encoder is not None:
            encoder.prepare(query for _, query in queries)
        return queries

    def _read(topics: str) -> Any:
        frame = read_topics(topics)
        titles = {qid: {"title": query} for qid, query in zip(frame["qid"], frame["query"], strict=True)}
        return iterators.DefaultQueryIterator(titles, list(titles))

    LuceneImpactSearcher._init_query_encoder_from_str = staticmethod(init_query_encoder)
    iterators.get_query_iterator = get_query_iterator


if __name__ == "__main__":
    main()
