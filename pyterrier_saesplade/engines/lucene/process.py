"""Lucene in a process of its own, for a Python whose Java is Terrier's, or is not to be started."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any

import pyterrier_saesplade
from pyterrier_saesplade.engines.lucene.jvm import has_anserini
from pyterrier_saesplade.engines.lucene.library import Lucene
from pyterrier_saesplade.errors import EngineError

_RESULT = '{"result": '


def get_lucene() -> Lucene | LuceneProcess:
    """Returns what writes and searches indexes: this process if its Java can load Anserini, else another process.

    The other process is started when it is first needed, again when it has died, and ends with this one.
    """
    return _here() if has_anserini() else _elsewhere(os.getpid())


class LuceneProcess:
    """:class:`~pyterrier_saesplade.engines.lucene.library.Lucene`, in a process of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # open as long as the process may write to it
        atexit.register(self.close)

    @property
    def pid(self) -> int | None:
        """The number of the process, if it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def write(self, folder: Path, documents: Iterable[Sequence[tuple[str, str]]]) -> int:
        """Writes an index; see :meth:`Lucene.write`.

        Raises:
            EngineError: If that fails, or the process dies.
        """
        batches = (json.dumps(batch) for batch in documents)
        return int(self._ask(itertools.chain([json.dumps({"write": str(folder.resolve())})], batches, ["null"])))

    def search(self, folder: Path, queries: Sequence[Mapping[str, float]], k: int) -> str:
        """Searches an index; see :meth:`Lucene.search`.

        Raises:
            EngineError: If that fails, or the process dies twice.
        """
        return self._ask_again({"search": str(folder.resolve()), "queries": queries, "k": k})

    def index_texts(self, source: Path, folder: Path) -> int:
        """Makes an index of texts; see :meth:`Lucene.index_texts`.

        Raises:
            EngineError: If that fails, or the process dies.
        """
        request = {"index_texts": str(source.resolve()), "folder": str(folder.resolve())}
        return int(self._ask([json.dumps(request)]))

    def search_texts(
        self, folder: Path, queries: Sequence[str], k: int, *, k1: float, b: float, rm3: bool = False
    ) -> str:
        """Searches an index of texts; see :meth:`Lucene.search_texts`.

        Raises:
            EngineError: If that fails, or the process dies twice.
        """
        model = {"k1": k1, "b": b, "rm3": rm3}
        return self._ask_again({"search_texts": str(folder.resolve()), "queries": queries, "k": k, "model": model})

    def query_words(self, folder: Path, queries: Sequence[str], *, k1: float, b: float, rm3: bool = False) -> str:
        """Tells the words of queries; see :meth:`Lucene.query_words`.

        Raises:
            EngineError: If that fails, or the process dies twice.
        """
        model = {"k1": k1, "b": b, "rm3": rm3}
        return self._ask_again({"query_words": str(folder.resolve()), "queries": queries, "model": model})

    def close(self) -> None:
        """Ends the process, if it runs."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(BrokenPipeError):  # what was not sent yet
                    assert pipe is not None
                    pipe.close()

    def _ask_again(self, request: Mapping[str, Any]) -> str:
        line = json.dumps(request)
        try:
            return self._ask([line])
        except _DiedError:  # between two searches, say, of somebody's need for memory
            return self._ask([line])

    def _ask(self, lines: Iterable[str]) -> str:
        with self._lock:
            process = self._running()
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                for line in lines:
                    process.stdin.write(line + "\n")
                process.stdin.flush()
                answer = process.stdout.readline()
            except BrokenPipeError:
                answer = ""
            except BaseException:  # an interruption for one, which leaves half a request or an answer in the pipes
                self.close()
                raise
            if not answer:
                self.close()
                raise _DiedError(f"the process that Anserini ran in died; its last words: {self._last_words()}")
        if not answer.startswith(_RESULT):
            raise EngineError(f"Anserini failed: {json.loads(answer)['error']}")
        return answer[len(_RESULT) : -len("}\n")]

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self.pid is None:
            self.close()
            self._process = self._start()
        return self._process

    def _start(self) -> subprocess.Popen[str]:
        # The worker must import the package from the same place as this process.
        path = [str(Path(pyterrier_saesplade.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        return subprocess.Popen(
            [sys.executable, "-m", "pyterrier_saesplade.engines.lucene.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))},
            start_new_session=True,  # Ctrl-C is meant for this process
        )

    def _last_words(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")[-2000:].strip() or "none"


class _DiedError(EngineError):
    """The process ended before it answered."""


@cache
def _here() -> Lucene:
    return Lucene()


@cache
def _elsewhere(pid: int) -> LuceneProcess:
    """Returns the process of the process ``pid``: one that was forked has to have its own."""
    return LuceneProcess()
