"""The worker process that writes and searches Lucene indexes for another process.

Requests and answers are lines of JSON on stdin and stdout; ``process.py`` is the other end. The worker imports neither
torch nor Pyserini, starts in a second or two, and ends when its stdin is closed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from pyterrier_saesplade.engines.lucene.jvm import start_java
from pyterrier_saesplade.engines.lucene.library import Lucene

if TYPE_CHECKING:
    from collections.abc import Iterator


def main() -> None:
    """Answers requests until there are no more."""
    lucene = Lucene()
    with open(os.dup(0), encoding="utf-8") as requests, open(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)  # Java's output must not be mixed with the answers
        for line in requests:
            answers.write(_answer(lucene, json.loads(line), requests) + "\n")
            answers.flush()


def _answer(lucene: Lucene, request: dict[str, Any], requests: TextIO) -> str:
    documents = _documents(requests) if "write" in request else iter(())
    try:
        start_java()
        result = _result(lucene, request, documents)
    except Exception as error:  # the other end raises it
        for _ in documents:  # the other end is still sending them
            pass
        return json.dumps({"error": f"{type(error).__name__}: {error}"})
    return f'{{"result": {result}}}'


def _result(lucene: Lucene, request: dict[str, Any], documents: Iterator[list[tuple[str, str]]]) -> str:
    match request:
        case {"write": folder}:
            return str(lucene.write(Path(folder), documents))
        case {"search": folder, "queries": queries, "k": k}:
            return lucene.search(Path(folder), queries, k)
        case {"index_texts": source, "folder": folder}:
            return str(lucene.index_texts(Path(source), Path(folder)))
        case {"search_texts": folder, "queries": queries, "k": k, "model": model}:
            return lucene.search_texts(Path(folder), queries, k, **model)
        case {"query_words": folder, "queries": queries, "model": model}:
            return lucene.query_words(Path(folder), queries, **model)
    raise ValueError(f"unknown request with {', '.join(request)}")


def _documents(requests: TextIO) -> Iterator[list[tuple[str, str]]]:
    """Yields the batches that follow a write request, up to the line ``null``."""
    while (batch := json.loads(next(requests, "null"))) is not None:
        yield batch


if __name__ == "__main__":
    main()
