"""What a suite is: data, read from a YAML file or found in a folder. Imports no PyTerrier."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.metrics import DEFAULT_MEASURES, parse_measures

_DATA = files("pyterrier_saesplade.evaluation.suites")
_PARTS = ("queries.tsv", "qrels.txt")
_DOCUMENTS = ("docs.jsonl", "docs.jsonl.gz")


@dataclass(frozen=True, kw_only=True)
class SuiteSet:
    """A collection of a suite, and how it is evaluated.

    Attributes:
        collection: What :func:`~pyterrier_saesplade.open_collection` takes.
        measures: Names of ir_measures; the first is the set's official one.
        query_set: A further query set over the same documents.
        doc_max_length: Word pieces kept per document; ``None``: as the model does.
        query_max_length: The same for queries.
        ignore_identical_ids: Whether a query does not find the document that has its qid for docno.
        language: That of documents and queries, two letters; ``None``: as ``ir_datasets`` says, else English.
    """

    collection: str
    measures: tuple[str, ...] = DEFAULT_MEASURES
    query_set: str | None = None
    doc_max_length: int | None = None
    query_max_length: int | None = None
    ignore_identical_ids: bool = False
    language: str | None = None


@dataclass(frozen=True)
class Suite:
    """Several sets under one name.

    Attributes:
        name: What the suite is called.
        sets: The sets by name; a name may have parts, as ``xquad/en`` has, and is a folder below that of results.
    """

    name: str
    sets: Mapping[str, SuiteSet]

    def only(self, names: Sequence[str]) -> Suite:
        """Returns the suite with these sets, in its own order; without names, with all.

        Raises:
            ValueError: If there is no such set.

        Examples:
            >>> list(open_suite("lotte-search").only(["science", "writing"]).sets)
            ['writing', 'science']
        """
        for name in names:
            if name not in self.sets:
                raise SettingError(f"the suite {self.name} has no set {name!r}: it has {', '.join(self.sets)}")
        return replace(self, sets={name: one for name, one in self.sets.items() if not names or name in names})

    @property
    def whole(self) -> Suite:
        """The suite of the package that this is a part of, as ``beir/scifact`` is; else the suite itself."""
        whole = _built_in(self.name) if self.name in suite_names() else self
        return whole if self.sets.items() <= whole.sets.items() else self


def suite_names() -> list[str]:
    """Returns the names of the suites that come with the package.

    Examples:
        >>> "beir" in suite_names()
        True
    """
    return sorted(entry.name.removesuffix(".yaml") for entry in _DATA.iterdir() if entry.name.endswith(".yaml"))


def open_suite(name: str | os.PathLike[str]) -> Suite:
    """Opens a suite.

    Args:
        name: One of :func:`suite_names`; one of its sets, such as ``beir/scifact`` or ``mmarco-es``; a YAML file of
            one's own; or a folder with collections in it, at any depth, each with documents, ``queries.tsv`` and
            ``qrels.txt``, which are called by their paths (what else is in the folder is passed over).

    Raises:
        ValueError: If it is none of these, or a file is not as it has to be.

    Examples:
        >>> suite = open_suite("beir")
        >>> suite.sets["arguana"].query_max_length, suite.sets["scifact"].collection
        (256, 'irds:beir/scifact/test')
        >>> list(open_suite("mmarco-es").sets)
        ['es']
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return _read(path.stem, path.read_text(encoding="utf-8"), where=str(path), folder=path.parent)
    if path.is_dir():
        return _in_folder(path)
    known = suite_names()
    for suite in known:
        if str(name) == suite:
            return _built_in(suite)
        one = str(name).removeprefix(suite)[1:]
        if str(name) in (f"{suite}/{one}", f"{suite}-{one}") and one in _built_in(suite).sets:
            return _built_in(suite).only([one])
    raise SettingError(
        f"{str(name)!r} is no suite: give a folder of collections, a YAML file, one of {', '.join(known)}, or a set of "
        "one, such as beir/scifact or mmarco-es"
    )


def _built_in(name: str) -> Suite:
    return _read(name, (_DATA / f"{name}.yaml").read_text(encoding="utf-8"), where=f"the suite {name}", folder=None)


def _in_folder(folder: Path) -> Suite:
    if _is_collection(folder):
        raise SettingError(f"{folder} is a collection, not a folder of several: give it as --collection")
    found = {path.relative_to(folder).as_posix(): path for path in _collections(folder)}
    if not found:
        raise SettingError(f"{folder} holds no folder with docs.jsonl[.gz], queries.tsv and qrels.txt")
    return Suite(folder.resolve().name, {name: SuiteSet(collection=str(path)) for name, path in found.items()})


def _collections(folder: Path) -> Iterator[Path]:
    for path in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        if _is_collection(path):
            yield path
        else:
            yield from _collections(path)


def _is_collection(path: Path) -> bool:
    documents = any((path / name).is_file() for name in _DOCUMENTS)
    return documents and all((path / name).is_file() for name in _PARTS)


def _read(name: str, text: str, *, where: str, folder: Path | None) -> Suite:
    """Reads a YAML file; names of collections that are folders beside it are paths from there."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingError(f"{where} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not isinstance(content.get("sets"), dict) or not content["sets"]:
        raise SettingError(f"{where} must have 'sets:', each with its name and 'collection: ...'")
    shared = {key: value for key, value in content.items() if key != "sets"}
    sets = {}
    for called, own in content["sets"].items():
        _check_name(called, where)
        if not isinstance(own, dict):
            raise SettingError(f"{where}, set {called}: expected settings, such as 'collection: ...', found {own!r}")
        one = _set(shared | own, f"{where}, set {called}")
        beside = folder / one.collection if folder is not None else None
        sets[called] = replace(one, collection=str(beside)) if beside is not None and beside.is_dir() else one
    return Suite(name, sets)


def _check_name(name: object, where: str) -> None:
    """Names are folders: they must not lead elsewhere, and not into another's."""
    parts = PurePosixPath(name).parts if isinstance(name, str) else ()
    if not parts or PurePosixPath(*parts).as_posix() != name or {"..", "/", "indexes"} & set(parts):
        raise SettingError(
            f"{where}: {name!r} cannot be the name of a set (in quotes, if YAML takes it for other than text)"
        )


def _set(settings: dict[str, Any], where: str) -> SuiteSet:
    known = {field.name: str(field.type) for field in fields(SuiteSet)}
    if unknown := sorted(str(key) for key in settings if key not in known):
        raise SettingError(f"{where}: unknown setting {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    if "collection" not in settings:
        raise SettingError(f"{where}: 'collection: ...' is missing")
    for key, value in settings.items():
        _check(value, known[key], f"{where}: {key}")
    if "measures" in settings:
        try:
            # As results name them.
            settings["measures"] = tuple(str(measure) for measure in parse_measures(settings["measures"]))
        except ValueError as error:
            raise SettingError(f"{where}: {error}") from error
    return SuiteSet(**settings)


def _check(value: Any, kind: str, what: str) -> None:
    if kind.startswith("str") and not isinstance(value, str):
        raise SettingError(f"{what} must be a text (in quotes, if it is a number), not {value!r}")
    if kind.startswith("int") and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise SettingError(f"{what} must be a whole number, at least 1, not {value!r}")
    if kind == "bool" and not isinstance(value, bool):
        raise SettingError(f"{what} must be true or false, not {value!r}")
    if kind.startswith("tuple") and not (isinstance(value, list) and all(isinstance(name, str) for name in value)):
        raise SettingError(f"{what} must be a list of names, such as [nDCG@10], not {value!r}")
