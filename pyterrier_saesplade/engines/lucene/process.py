"""Runs Lucene in a worker process, for when this process's Java belongs to Terrier or should not be started."""

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
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pyterrier_saesplade
from pyterrier_saesplade.engines.lucene.jvm import has_anserini
from pyterrier_saesplade.engines.lucene.library import Lucene
from pyterrier_saesplade.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_RESULT = '{"result": '


def get_lucene() -> Lucene | LuceneProcess:
    """Returns Lucene in this process if its Java can load Anserini, otherwise Lucene in a worker process.

    The worker is started when it is first needed, restarted if it has died, and ends with this process.
    """
    return _in_this_process() if has_anserini() else _in_worker_of(os.getpid())


class LuceneProcess:
    """:class:`~pyterrier_saesplade.engines.lucene.library.Lucene` in a worker process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # stays open while the worker may write to it
        atexit.register(self.close)

    @property
    def pid(self) -> int | None:
        """The process ID of the worker, or ``None`` if it is not running."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def write(self, folder: Path, documents: Iterable[Sequence[tuple[str, str]]]) -> int:
        """Writes an index; see :meth:`Lucene.write`.

        Raises:
            EngineError: If writing fails, or the worker dies.
        """
        batches = (json.dumps(batch) for batch in documents)
        return int(self._ask(itertools.chain([json.dumps({"write": str(folder.resolve())})], batches, ["null"])))

    def search(self, folder: Path, queries: Sequence[Mapping[str, float]], k: int) -> str:
        """Searches an index; see :meth:`Lucene.search`.

        Raises:
            EngineError: If the search fails, or the worker dies twice.
        """
        return self._ask_twice({"search": str(folder.resolve()), "queries": queries, "k": k})

    def index_texts(self, source: Path, folder: Path) -> int:
        """Indexes texts; see :meth:`Lucene.index_texts`.

        Raises:
            EngineError: If indexing fails, or the worker dies.
        """
        request = {"index_texts": str(source.resolve()), "folder": str(folder.resolve())}
        return int(self._ask([json.dumps(request)]))

    def search_texts(
        self, folder: Path, queries: Sequence[str], k: int, *, k1: float, b: float, rm3: bool = False
    ) -> str:
        """Searches an index of texts; see :meth:`Lucene.search_texts`.

        Raises:
            EngineError: If the search fails, or the worker dies twice.
        """
        model = {"k1": k1, "b": b, "rm3": rm3}
        return self._ask_twice({"search_texts": str(folder.resolve()), "queries": queries, "k": k, "model": model})

    def query_words(self, folder: Path, queries: Sequence[str], *, k1: float, b: float, rm3: bool = False) -> str:
        """Returns the words of queries; see :meth:`Lucene.query_words`.

        Raises:
            EngineError: If the request fails, or the worker dies twice.
        """
        model = {"k1": k1, "b": b, "rm3": rm3}
        return self._ask_twice({"query_words": str(folder.resolve()), "queries": queries, "model": model})

    def close(self) -> None:
        """Ends the worker if it is running."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(BrokenPipeError):  # closing flushes what was not sent yet
                    assert pipe is not None
                    pipe.close()

    def _ask_twice(self, request: Mapping[str, Any]) -> str:
        """Sends a request, and sends it once more if the worker has died."""
        line = json.dumps(request)
        try:
            return self._ask([line])
        except _DiedError:  # for example, the system killed it between two searches because memory ran out
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
            except BaseException:  # for example an interruption, which leaves half a request or an answer in the pipes
                self.close()
                raise
            if not answer:
                self.close()
                raise _DiedError(f"the process that ran Anserini died; the end of its log: {self._end_of_log()}")
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
            start_new_session=True,  # Ctrl-C must reach only this process
        )

    def _end_of_log(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")[-2000:].strip() or "(empty)"


class _DiedError(EngineError):
    """The worker ended before it answered."""


@cache
def _in_this_process() -> Lucene:
    return Lucene()


@cache
def _in_worker_of(pid: int) -> LuceneProcess:
    """Returns the worker of the process ``pid``. A forked process needs a worker of its own."""
    return LuceneProcess()
