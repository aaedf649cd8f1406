"""Suites: several collections under one name, read from a YAML file or a folder. Does not import PyTerrier."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field, PositiveInt

from pyterrier_saesplade.collections import is_collection
from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.metrics import DEFAULT_MEASURES, parse_measures
from pyterrier_saesplade.settings import make_settings, parse_yaml, read_yaml, settings_class

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence

_DATA = files("pyterrier_saesplade.evaluation.suites")


def _standard_names(measures: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the names that measures have in results."""
    return tuple(str(measure) for measure in parse_measures(measures))


@settings_class
class SuiteSet:
    """A collection in a suite, and how it is evaluated.

    Attributes:
        collection: The collection, as :func:`~pyterrier_saesplade.open_collection` takes it.
        measures: Names of measures as in ir_measures; the first is the official one of the collection.
        query_set: Another query set over the same documents; ``None``: the collection's own.
        doc_max_length: Documents are truncated to this many word pieces; ``None``: the model's length.
        query_max_length: Queries are truncated to this many word pieces; ``None``: the model's length.
        ignore_identical_ids: Whether to drop a document from the results of the query with the same identifier.
        language: Language of documents and queries, as two letters; ``None``: as ``ir_datasets`` says, else English.

    Raises:
        SettingError: If a setting is unknown, missing or not allowed.
    """

    collection: str
    measures: Annotated[tuple[str, ...], Field(strict=False), AfterValidator(_standard_names)] = DEFAULT_MEASURES
    query_set: str | None = None
    doc_max_length: PositiveInt | None = None
    query_max_length: PositiveInt | None = None
    ignore_identical_ids: bool = False
    language: str | None = None


@dataclass(frozen=True)
class Suite:
    """Several collections under one name.

    Attributes:
        name: The name of the suite.
        sets: The collections by name. A name may have several parts, as in ``xquad/en``; it is also the path of the
            set's folder below the folder of results.
    """

    name: str
    sets: Mapping[str, SuiteSet]

    def only(self, names: Sequence[str]) -> Suite:
        """Returns the suite with some of its sets, in the suite's order.

        Args:
            names: The names of the sets to keep; empty for all.

        Raises:
            SettingError: If there is no such set.

        Examples:
            >>> list(open_suite("lotte-search").only(["science", "writing"]).sets)
            ['writing', 'science']
        """
        for name in names:
            if name not in self.sets:
                raise SettingError(f"the suite {self.name} has no set {name!r}: it has {', '.join(self.sets)}")
        kept = {name: one for name, one in self.sets.items() if not names or name in names}
        return dataclasses.replace(self, sets=kept)

    @property
    def whole(self) -> Suite:
        """The built-in suite that this suite is a part of, such as ``beir`` for ``beir/scifact``; else this suite."""
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
        name: One of :func:`suite_names`; one of its sets, such as ``beir/scifact`` or ``mmarco-es``; a YAML file; or a
            folder that contains collections, at any depth, each with documents, ``queries.tsv`` and ``qrels.txt``.
            Their paths in that folder become the names of the sets; anything else in it is ignored.

    Raises:
        SettingError: If the name is not one of these, or the file is not a valid suite.

    Examples:
        >>> suite = open_suite("beir")
        >>> suite.sets["arguana"].query_max_length, suite.sets["scifact"].collection
        (256, 'irds:beir/scifact/test')
        >>> list(open_suite("mmarco-es").sets)
        ['es']
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return _suite(path.stem, read_yaml(path), str(path), path.parent)
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
        f"there is no suite {str(name)!r}: give a folder of collections, a YAML file, one of {', '.join(known)}, or a "
        "set of one of these, such as beir/scifact or mmarco-es"
    )


def _built_in(name: str) -> Suite:
    where = f"the suite {name}"
    return _suite(name, parse_yaml((_DATA / f"{name}.yaml").read_text(encoding="utf-8"), where), where, None)


def _in_folder(folder: Path) -> Suite:
    if is_collection(folder):
        raise SettingError(f"{folder} is one collection, not a folder of several: give it as --collection")
    found = {path.relative_to(folder).as_posix(): path for path in _collections(folder)}
    if not found:
        raise SettingError(f"{folder} contains no folder with docs.jsonl[.gz], queries.tsv and qrels.txt")
    return Suite(folder.resolve().name, {name: SuiteSet(collection=str(path)) for name, path in found.items()})


def _collections(folder: Path) -> Iterator[Path]:
    for path in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        if is_collection(path):
            yield path
        else:
            yield from _collections(path)


def _suite(name: str, content: dict[str, Any], where: str, folder: Path | None) -> Suite:
    """Makes a suite from the content of a YAML file in ``folder``: its sets, and the settings that they share."""
    sets = content.pop("sets", None)
    if not isinstance(sets, dict) or not sets:
        raise SettingError(f"{where} must have 'sets:', with 'name: {{collection: ...}}' for each set")
    made = {}
    for set_name, own in sets.items():
        _check_name(set_name, where)
        given = content | own if isinstance(own, dict) else own
        one = make_settings(SuiteSet, given, f"{where}, set {set_name}")
        # A collection may be a folder, relative to the file.
        relative = folder / one.collection if folder is not None else None
        is_folder = relative is not None and relative.is_dir()
        made[set_name] = dataclasses.replace(one, collection=str(relative)) if is_folder else one
    return Suite(name, made)


def _check_name(name: object, where: str) -> None:
    """Checks the name of a set. It is a path below the results, and must not lead outside or to the indexes."""
    parts = PurePosixPath(name).parts if isinstance(name, str) else ()
    if not parts or PurePosixPath(*parts).as_posix() != name or {"..", "/", "indexes"} & set(parts):
        raise SettingError(
            f"{where}: {name!r} cannot be the name of a set: choose another, or put it in quotes if it is not a string"
        )
