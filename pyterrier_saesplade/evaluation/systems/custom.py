"""Custom pipelines as systems, from Python or as ``module:attribute``."""

from __future__ import annotations

import inspect
import os
import pkgutil
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyterrier as pt

from pyterrier_saesplade.collections import Collection
from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.evaluation.systems.base import Artifact, ArtifactCache, System
from pyterrier_saesplade.evaluation.systems.stages import NUM_RESULTS, DropIdenticalIds, RankResults, ResetQueries

#: A function that makes a pipeline for a collection, and may keep an index in a folder.
PipelineMaker = Callable[[Collection], pt.Transformer] | Callable[[Collection, Path], pt.Transformer]


class CustomSystem(System):
    """A custom pipeline as a row of the table.

    Args:
        name: The name of the row.
        pipeline: A transformer from queries to results, or a function that returns one. The function gets the
            collection and, if it takes a second positional argument, a folder for an index. If the folder does not
            exist, the function must build the index; if it does, the function must open it.
        identity: A string that distinguishes this pipeline from others with the same name. An index is only reused if
            the identity is the same.

    Raises:
        SettingError: If the pipeline is neither a transformer nor a function.

    Examples:
        >>> import pyterrier as pt
        >>> def words(collection, folder):
        ...     index = pt.terrier.TerrierIndex(str(folder))
        ...     if not folder.exists():
        ...         index.indexer(meta={"docno": 100}).index(collection.get_corpus_iter())
        ...     return pt.rewrite.tokenise() >> index.tf_idf()
        >>> CustomSystem("tf-idf", words).name
        'tf-idf'
    """

    encodes_apart = False

    def __init__(self, name: str, pipeline: pt.Transformer | PipelineMaker, identity: str = "") -> None:
        if not isinstance(pipeline, pt.Transformer) and (inspect.isclass(pipeline) or not callable(pipeline)):
            raise SettingError(
                f"{name} must be a pipeline, or a function that takes a collection and returns a pipeline, not a "
                f"{type(pipeline).__name__}"
            )
        self.name = name
        self.note = f"{name}: {identity or pipeline!r}"
        self._given = pipeline
        self._identity = identity or _identity_of(name, pipeline)
        self._index = None if isinstance(pipeline, pt.Transformer) else _index_of(name, self._identity, pipeline)
        self.searched = () if self._index is None else (self._index,)

    @property
    def settings(self) -> list[str]:
        """The identity of the pipeline."""
        return [self._identity]

    def stages(
        self, artifacts: ArtifactCache, *, ignore_identical_ids: bool = False
    ) -> tuple[pt.Transformer, pt.Transformer]:
        """Returns an identity transformer, and the pipeline, with results ranked and limited to the depth of a run."""
        pipeline = self._pipeline(artifacts)
        _require_columns(self.name, pipeline, ["qid", "query"], ["qid", "docno", "score"])
        results = pipeline >> RankResults() >> ResetQueries()
        kept = results >> DropIdenticalIds(NUM_RESULTS) if ignore_identical_ids else results % NUM_RESULTS
        return pt.Transformer.identity(), kept

    def scorer(self, artifacts: ArtifactCache) -> pt.Transformer:
        """Returns the pipeline as it is. It must accept results, and load any texts that it needs."""
        pipeline = self._pipeline(artifacts)
        _require_columns(self.name, pipeline, ["qid", "query", "docno", "score", "rank"], ["qid", "docno", "score"])
        return pipeline

    def _pipeline(self, artifacts: ArtifactCache) -> pt.Transformer:
        if isinstance(self._given, pt.Transformer):
            return self._given
        if self._index is not None:
            return self._index.open(artifacts)
        return _checked(self.name, self._given(artifacts.corpus.collection))  # type: ignore[call-arg]


class _CustomIndex(Artifact):
    """The folder that a function keeps its index in."""

    resumes = True  # builds in place, because a pipeline may remember the path of its index

    def __init__(self, name: str, identity: str, make: Callable[[Collection, Path], pt.Transformer]) -> None:
        self.name = name
        self._identity = identity
        self._make = make
        self._pipelines: dict[Path, pt.Transformer] = {}

    @property
    def identity(self) -> str:
        return self._identity

    def build(self, artifacts: ArtifactCache, path: Path) -> None:
        shutil.rmtree(path, ignore_errors=True)  # the function would open what an interrupted build left
        self._pipelines[path] = self._made(artifacts, path)

    def open(self, artifacts: ArtifactCache) -> pt.Transformer:
        """Returns the pipeline that the function made when it built the index, or else makes one."""
        path = artifacts.path(self)
        if path not in self._pipelines:
            self._pipelines[path] = self._made(artifacts, path)
        return self._pipelines[path]

    def _made(self, artifacts: ArtifactCache, path: Path) -> pt.Transformer:
        return _checked(self.name, self._make(artifacts.corpus.collection, path))


def imported_system(name: str) -> CustomSystem:
    """Returns the system that ``module:attribute`` names. The attribute is the name of its row.

    The module may be in the current folder. If its source changes, the index is built again.

    Raises:
        SettingError: If there is no such module or attribute, or it is not a pipeline.
    """
    with _current_folder_importable():
        try:
            found = pkgutil.resolve_name(name)
        except (ImportError, AttributeError) as error:
            raise SettingError(f"{name} cannot be imported: {error}") from error
    source = getattr(sys.modules[name.partition(":")[0]], "__file__", None)
    digest = _digest(Path(source).read_bytes()) if source else "built in"
    return CustomSystem(name.rpartition(":")[2], found, f"{name} (source {digest})")


@contextmanager
def _current_folder_importable() -> Iterator[None]:
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _identity_of(name: str, pipeline: object) -> str:
    """Returns a name, an address and a source: a changed function may have the address of the one that it replaced."""
    try:
        source = inspect.getsource(pipeline)  # type: ignore[arg-type]
    except (OSError, TypeError):  # not a function, or its source is unknown
        source = ""
    return f"{name} {pipeline!r} (source {_digest(source.encode())})"


def _digest(source: bytes) -> str:
    return sha256(source).hexdigest()[:12]


def _index_of(name: str, identity: str, make: Any) -> _CustomIndex | None:
    """Returns the artifact of a function that takes a folder; ``None`` for other functions."""
    parameters = inspect.signature(make).parameters.values()
    positional = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    return _CustomIndex(name, identity, make) if len(positional) > 1 else None


def _require_columns(name: str, pipeline: pt.Transformer, given: list[str], wanted: list[str]) -> None:
    """Checks the columns that a pipeline takes and returns, before any work, if PyTerrier can infer them."""
    try:
        found = pt.inspect.transformer_outputs(pipeline, given)
    except pt.inspect.InspectError:
        return
    except pt.validate.InputValidationError as error:
        raise SettingError(f"{name} does not accept frames with the columns {', '.join(given)}: {error}") from error
    missing = [column for column in wanted if column not in found]
    if missing:
        raise SettingError(f"{name} must return frames with {', '.join(wanted)}, but its frames lack {missing[0]}")


def _checked(name: str, made: object) -> pt.Transformer:
    if not isinstance(made, pt.Transformer):
        raise SettingError(f"{name} must return a pipeline, but returned a {type(made).__name__}")
    return made
