"""Tables of a paper as data: their cells, and the commands that make these."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any, Self, TypeVar

import yaml

from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.evaluation import Suite, open_suite, read_summary
from pyterrier_saesplade.metrics import delta_e

Made = TypeVar("Made")

_DATA = files("pyterrier_saesplade.paper") / "paper.yaml"
_PLACE = re.compile(r"\{([^{}]+)\}")
_OPTION = re.compile(r"\$(\w+)")

#: What a command can begin with.
PROGRAMS = ("saesplade", "python")

#: What a folder holds when it is complete: a model, an index, results, a collection.
_COMPLETE = ("config.json", "pt_meta.json", "suite.json", "results.json", "docs.jsonl.gz")


@dataclass(frozen=True)
class Folders:
    """Where commands read and write.

    Attributes:
        out: What is made.
        data: The files that have to be brought.
        configs: The settings of the trainings and two programs, ``examples/paper`` of the repository.
    """

    out: Path = Path("paper")
    data: Path = Path("data")
    configs: Path = Path("examples/paper")


@dataclass(frozen=True)
class Step:
    """A command, and what it makes.

    Attributes:
        name: What it makes, from the folder of results.
        path: The same as a path.
        words: The command, ``saesplade`` or ``python`` first.
        prints: Whether what it makes is what it prints.
        inputs: What it reads that no step makes: files of the folders ``data`` and ``configs``, with the folder's name.
    """

    name: str
    path: Path
    words: Sequence[str]
    prints: bool
    inputs: Mapping[Path, str]

    @property
    def is_done(self) -> bool:
        """Whether what it makes is there, and complete."""
        results = self.path / "suite.json"
        if self._suite is not None and results.exists():  # which may be that of a few sets
            return set(self._suite.sets) <= set(json.loads(results.read_text(encoding="utf-8"))["sets"])
        return self.path.is_file() or any((self.path / name).exists() for name in _COMPLETE)

    @property
    def collections(self) -> list[str]:
        """The names of the data sets of ir_datasets that it reads."""
        of_sets = [] if self._suite is None else [one.collection for one in self._suite.sets.values()]
        return [name.removeprefix("irds:") for name in [*self.words, *of_sets] if name.startswith("irds:")]

    @cached_property
    def _suite(self) -> Suite | None:
        """The sets that it evaluates."""
        pairs = list(pairwise(self.words))
        suites = [value for option, value in pairs if option == "--suite"]
        return open_suite(suites[0]).only([value for option, value in pairs if option == "--only"]) if suites else None

    def __str__(self) -> str:
        """The command as a shell takes it."""
        return shlex.join(self.words) + (f" > {shlex.quote(str(self.path))}" if self.prints else "")


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table.

    Attributes:
        measure: The name of the measure, ``qd_flops`` or ``ΔE``.
        steps: Which results it is read from: the step of a row is called ``STEP/ROW``.
        set: The set of a suite; ``None``: the mean of all, or a collection that is none of a suite.
        reported: The best value that was reported, as a fraction; ``None``: not known.
    """

    measure: str = ""
    steps: Sequence[str] = ()
    set: str | None = None
    reported: float | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table or a figure of a paper.

    Attributes:
        title: What it shows.
        about: What more there is to say.
        source: Where reported figures come from, if not where those of the other tables do.
        columns: The columns by name.
        rows: The systems: the name of a row, and the run that it is of, which is called as its file of settings.
        figures: Steps that draw.
        also: Further steps.
        missing: What cannot be had here.
        small: Figures of ours on small collections, with their source.
    """

    title: str
    about: str = ""
    source: str = ""
    columns: Mapping[str, Column] = field(default_factory=dict)
    rows: Mapping[str, str] = field(default_factory=dict)
    figures: Sequence[str] = ()
    also: Sequence[str] = ()
    missing: Sequence[str] = ()
    small: str = ""

    @property
    def targets(self) -> list[str]:
        """The steps that it ends with; they have others before them."""
        results = [f"{step}/{run}" for run in self.rows.values() for one in self.columns.values() for step in one.steps]
        return list(dict.fromkeys([*results, *self.also, *self.figures]))

    def cells(self, out: Path | None) -> list[list[str]]:
        """Returns the table as texts: a header, what was reported, and the rows with the results that a folder has."""
        columns = list(self.columns.values())
        return [
            ["", "run", *self.columns],
            ["reported", "", *(_number(one.reported) for one in columns)],
            *([name, f"`{row}`", *(_cell(one, row, out) for one in columns)] for name, row in self.rows.items()),
        ]


@dataclass(frozen=True, kw_only=True)
class Tables:
    """The tables of a paper, and the rules by which their steps are made.

    Attributes:
        tables: The tables by name.
        steps: A command for each name of a step; ``%`` in a name stands for anything.
        options: Words that commands share.
        files: Files that have to be brought, and what they are.
        downloads: Data sets of ir_datasets, with ``documents`` and ``megabytes`` as far as they are known.
        source: Where reported figures come from.
        hardware: What is needed.
        work: How much a step of a verb has to do.
        about: What there is to say before all tables, in Markdown.
    """

    tables: Mapping[str, Table]
    steps: Mapping[str, str]
    options: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    downloads: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    source: str = ""
    hardware: str = ""
    work: Mapping[str, str] = field(default_factory=dict)
    about: str = ""

    @classmethod
    def read(cls, text: str, where: str) -> Self:
        """Reads them from YAML.

        Raises:
            ValueError: If it is not as it has to be; ``where`` is named.
        """
        try:
            content = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise SettingError(f"{where} is no YAML: {' '.join(str(error).split())}") from error
        made = _made(cls, content, where)
        return replace(made, tables={str(name): _table(one, f"{where}, {name}") for name, one in made.tables.items()})

    def table(self, name: str) -> Table:
        """Returns a table.

        Raises:
            ValueError: If there is none of that name.
        """
        if name not in self.tables:
            raise SettingError(f"there is no table {name!r}: there are {', '.join(self.tables)}")
        return self.tables[name]

    def plan(self, name: str, folders: Folders = Folders()) -> list[Step]:
        """Returns the steps of a table, each after those that it needs.

        Raises:
            ValueError: If there is no such table, or its steps cannot be resolved.

        Examples:
            >>> [step.name for step in open_tables().plan("postings")][:3]
            ['sae/main', 'model/main', 'index/main']
        """
        steps: dict[str, Step | None] = {}
        for target in self.table(name).targets:
            self._resolve(target, folders, steps)
        return [step for step in steps.values() if step is not None]

    def _resolve(self, name: str, folders: Folders, steps: dict[str, Step | None]) -> Path:
        """Puts a step behind those that it needs, unless it is there; returns what it makes."""
        if name in steps:
            if steps[name] is None:
                raise SettingError(f"the step {name} needs itself")
            return folders.out / name
        steps[name] = None
        inputs: dict[Path, str] = {}
        words = [self._filled(word, name, folders, steps, inputs) for word in shlex.split(self._command(name))]
        if not words or words[0] not in PROGRAMS:
            raise SettingError(
                f"the command of the step {name} must begin with {' or '.join(PROGRAMS)}, not {words[:1]}"
            )
        del steps[name]  # so that it stands after those that it needs
        prints = words[-2:] == [">", str(folders.out / name)]
        steps[name] = Step(name, folders.out / name, words[:-2] if prints else words, prints, inputs)
        return folders.out / name

    def _filled(
        self, word: str, name: str, folders: Folders, steps: dict[str, Step | None], inputs: dict[Path, str]
    ) -> str:
        known = {"this": folders.out / name, **vars(folders)}

        def fill(match: re.Match[str]) -> str:
            place = match[1]
            return str(known[place] if place in known else self._resolve(place, folders, steps))

        filled = _PLACE.sub(fill, word)
        for place in ("data", "configs"):
            if word.startswith(f"{{{place}}}/"):
                inputs[Path(filled)] = place
        return filled

    def _command(self, name: str) -> str:
        rule = max((rule for rule in self.steps if _matches(rule, name)), key=_exactness, default=None)
        if rule is None:
            raise SettingError(f"there is no step {name!r}, nor a rule for it")
        first, _, last = rule.partition("%")
        stem = name[len(first) : len(name) - len(last)]

        def option(match: re.Match[str]) -> str:
            if match[1] not in self.options:
                raise SettingError(f"the step {rule} names ${match[1]}, which is none of the options")
            return self.options[match[1]]

        return _OPTION.sub(option, str(self.steps[rule])).replace("%", stem)

    @cached_property
    def _datasets(self) -> list[str]:
        return sorted(self.downloads, key=len, reverse=True)

    def fetched(self, plan: Sequence[Step]) -> dict[str, Mapping[str, int]]:
        """Returns what the steps download, by the name of the data set, in order.

        Examples:
            >>> open_tables().fetched(open_tables().plan("k"))
            {'msmarco-passage': {'documents': 8841823, 'megabytes': 1088}}
        """
        found = {}
        for collection in (collection for step in plan for collection in step.collections):
            known = [name for name in self._datasets if collection == name or collection.startswith(f"{name}/")]
            found[known[0] if known else collection] = self.downloads[known[0]] if known else {}
        return found

    def describe(self, name: str, folders: Folders | None = None) -> str:
        """Returns all that there is to say of a table, in Markdown.

        Args:
            name: Its name.
            folders: Where things are: what is there already, of results and of steps, is taken into account. ``None``:
                nothing is.

        Raises:
            ValueError: As for :meth:`plan`.
        """
        table, plan = self.table(name), self.plan(name, folders or Folders())
        parts = [f"## `{name}`: {table.title}", table.about]
        if table.columns:
            parts.append(_markdown(table.cells(folders.out if folders else None)))
        if table.small:
            parts.append(f"Ours, on small collections: {table.small}")
        parts.append("\n".join(f"- {fact}" for fact in self._facts(table, plan)))
        lines = [f"# done: {step.name}" if folders and step.is_done else str(step) for step in plan]
        parts.append("\n".join(["```bash", *lines, "```"]))
        return "\n\n".join(part for part in parts if part)

    def _facts(self, table: Table, plan: Sequence[Step]) -> Iterator[str]:
        if any(one.reported is not None for one in table.columns.values()):
            yield f"reported: {table.source or self.source}"
        inputs = {path: place for step in plan for path, place in step.inputs.items()}
        for path in (path for path, place in inputs.items() if place == "data"):
            yield f"to be brought: `{path}`, {self.files.get(path.name, path.name)}"
        for name, known in self.fetched(plan).items():
            yield f"fetched: {_download(name, known)}"
        verbs = dict.fromkeys(step.words[1] for step in plan)
        if self.hardware and any(verb in self.work for verb in verbs):
            yield f"hardware: {self.hardware}"
        for verb in verbs:
            if verb in self.work:
                yield f"each `{verb}`: {self.work[verb]}"
        for one in table.missing:
            yield f"missing here: {one}"

    def listing(self) -> str:
        """Returns the names of the tables, with their titles and the number of their commands."""
        width = max(map(len, self.tables))
        lines = (f"{name:{width}}  {one.title} ({len(self.plan(name))} commands)" for name, one in self.tables.items())
        return "\n".join(lines)

    def markdown(self) -> str:
        """Returns all tables as a page."""
        return "\n\n".join([self.about.strip(), *(self.describe(name) for name in self.tables)]) + "\n"


def open_tables(path: str | os.PathLike[str] | None = None) -> Tables:
    """Opens the tables of the paper, or a YAML file of one's own that is written as ``paper/paper.yaml`` is.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not as it has to be.

    Examples:
        >>> list(open_tables().tables)[:4]
        ['main', 'multilingual', 'k', 'k-lambda']
    """
    if path is None:
        return Tables.read(_DATA.read_text(encoding="utf-8"), "the paper's tables")
    return Tables.read(Path(path).read_text(encoding="utf-8"), str(path))


def _table(settings: Any, where: str) -> Table:
    table = _made(Table, settings, where)
    columns = {str(name): _made(Column, one, f"{where}, {name}") for name, one in table.columns.items()}
    return replace(table, columns=columns, rows={str(name): str(run) for name, run in table.rows.items()})


def _made(kind: type[Made], settings: Any, where: str) -> Made:
    """Makes a table, or what belongs to one, of YAML's mappings, lists and texts."""
    if not isinstance(settings, dict):
        raise SettingError(f"{where}: expected settings, such as 'title: ...', found {settings!r}")
    known = {one.name: str(one.type) for one in fields(kind)}  # type: ignore[arg-type]
    for name, value in settings.items():
        if name not in known:
            raise SettingError(f"{where}: unknown setting {name}; there are {', '.join(known)}")
        for begins, wanted, noun in (
            ("str", str, "a text"),
            ("Sequence", list, "a list"),
            ("Mapping", dict, "a mapping"),
        ):
            if known[name].startswith(begins) and value is not None and not isinstance(value, wanted):
                raise SettingError(f"{where}: {name} must be {noun}, not {value!r}")
    try:
        return kind(**settings)
    except TypeError as error:
        raise SettingError(f"{where}: {error}") from error


def _matches(rule: str, name: str) -> bool:
    first, anything, last = rule.partition("%")
    long_enough = len(name) >= len(first) + len(last)
    return long_enough and name.startswith(first) and name.endswith(last) if anything else name == rule


def _exactness(rule: str) -> tuple[bool, int]:
    return "%" not in rule, len(rule)


def _cell(column: Column, run: str, out: Path | None) -> str:
    """A cell is empty where there are no results; of several steps it has a value each."""
    values = [] if out is None else [_value(column, out / step / run) for step in column.steps]
    return " / ".join(map(_number, values)) if any(value is not None for value in values) else ""


def _value(column: Column, folder: Path) -> float | None:
    folder = folder / column.set if column.set else folder
    if not any((folder / name).exists() for name in ("results.json", "suite.json")):
        return None
    compared = read_summary(folder).table.iloc[-1]
    wanted = ("RR@10", "qd_flops") if column.measure == "ΔE" else (column.measure,)
    if missing := [name for name in wanted if name not in compared]:
        raise SettingError(f"{folder} has no {missing[0]}; it has {', '.join(map(str, compared.index))}")
    values = [float(compared[name]) for name in wanted]
    return delta_e(*values) if column.measure == "ΔE" else values[0]


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def _markdown(cells: Sequence[Sequence[str]]) -> str:
    rows = [cells[0], ["---"] * len(cells[0]), *cells[1:]]
    return "\n".join(" ".join(["|", *(f"{cell} |" if cell else "|" for cell in row)]) for row in rows)


def _download(name: str, known: Mapping[str, int]) -> str:
    units = {"documents": "documents", "megabytes": "MB"}
    return ", ".join([f"`irds:{name}`", *(f"{known[key]:,} {unit}" for key, unit in units.items() if key in known)])
