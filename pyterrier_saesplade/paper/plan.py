"""The tables of a paper as data: their cells, and the commands that compute them."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BeforeValidator

from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.evaluation import Suite, open_suite, read_summary
from pyterrier_saesplade.metrics import delta_e
from pyterrier_saesplade.settings import make_settings, parse_yaml, read_yaml, settings_class

if TYPE_CHECKING:
    import os

_DATA = files("pyterrier_saesplade.paper") / "paper.yaml"
_PLACE = re.compile(r"\{([^{}]+)\}")
_OPTION = re.compile(r"\$(\w+)")

#: The programs that a command may run.
PROGRAMS = ("saesplade", "python")

#: Files that show a folder to be complete: a model, an index, results of a suite or a collection, a collection.
_COMPLETE = ("config.json", "pt_meta.json", "suite.json", "results.json", "docs.jsonl.gz")


@dataclass(frozen=True)
class Folders:
    """The folders that commands read from and write to.

    Attributes:
        out: The folder for all output.
        data: The folder of the files that must be provided.
        configs: The folder with the settings of the trainings and two programs, ``examples/paper`` of the repository.
    """

    out: Path = Path("paper")
    data: Path = Path("data")
    configs: Path = Path("examples/paper")


@dataclass(frozen=True)
class Step:
    """A command and its output.

    Attributes:
        name: The path of the output, relative to the folder of all output.
        path: The full path of the output.
        words: The words of the command; the first is ``saesplade`` or ``python``.
        prints: Whether the output is what the command prints.
        inputs: Files that the command reads and no step makes, each with the name of its folder, ``data`` or
            ``configs``.
    """

    name: str
    path: Path
    words: Sequence[str]
    prints: bool
    inputs: Mapping[Path, str]

    @property
    def is_done(self) -> bool:
        """Whether the output exists and is complete."""
        results = self.path / "suite.json"
        if self._suite is not None and results.exists():  # possibly of a part of the sets
            return set(self._suite.sets) <= set(json.loads(results.read_text(encoding="utf-8"))["sets"])
        return self.path.is_file() or any((self.path / name).exists() for name in _COMPLETE)

    @property
    def collections(self) -> list[str]:
        """The names of the ir_datasets data sets that the command reads."""
        of_sets = [] if self._suite is None else [one.collection for one in self._suite.sets.values()]
        return [name.removeprefix("irds:") for name in [*self.words, *of_sets] if name.startswith("irds:")]

    @cached_property
    def _suite(self) -> Suite | None:
        """The suite that the command evaluates, if any."""
        pairs = list(pairwise(self.words))
        suites = [value for option, value in pairs if option == "--suite"]
        return open_suite(suites[0]).only([value for option, value in pairs if option == "--only"]) if suites else None

    def __str__(self) -> str:
        """Returns the command, quoted for a shell."""
        return shlex.join(self.words) + (f" > {shlex.quote(str(self.path))}" if self.prints else "")


@settings_class
class Column:
    """A column of a table.

    Attributes:
        measure: The name of the measure, ``qd_flops`` or ``ΔE``.
        steps: The steps whose results the column shows; for a row, the step is ``STEP/RUN``.
        set: The set of a suite; ``None``: the mean over the suite, or the results of a single collection.
        reported: The best reported value, a fraction or a count; ``None``: unknown.
    """

    measure: str = ""
    steps: Sequence[str] = ()
    set: str | None = None
    reported: int | float | None = None


def _each(kind: type) -> BeforeValidator:
    """Makes instances of a class of settings of the values of a mapping."""

    def make(given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        return {name: make_settings(kind, one, f"{kind.__name__.lower()} {name}") for name, one in given.items()}

    return BeforeValidator(make)


@settings_class
class Table:
    """A table or a figure of a paper.

    Attributes:
        title: What the table shows.
        about: Further explanations.
        source: Where the reported figures come from, if it differs from the other tables.
        columns: The columns by name.
        rows: For each row, a system, the name of its run, which is also the name of its file of settings.
        figures: The steps that draw figures.
        also: Further steps.
        missing: What this package cannot reproduce.
        small: Results of this package on small collections, with their source.
    """

    title: str
    about: str = ""
    source: str = ""
    columns: Annotated[Mapping[str, Column], _each(Column)] = field(default_factory=dict)
    rows: Mapping[str, str] = field(default_factory=dict)
    figures: Sequence[str] = ()
    also: Sequence[str] = ()
    missing: Sequence[str] = ()
    small: str = ""

    @property
    def targets(self) -> list[str]:
        """The names of the steps that produce the table; they depend on others."""
        results = [f"{step}/{run}" for run in self.rows.values() for one in self.columns.values() for step in one.steps]
        return list(dict.fromkeys([*results, *self.also, *self.figures]))

    def cells(self, out: Path | None) -> list[list[str]]:
        """Returns the cells as strings: a header, the reported values, and a row per system.

        Args:
            out: The folder of results. Cells without results are empty, and all are if it is ``None``.
        """
        columns = list(self.columns.values())
        return [
            ["", "run", *self.columns],
            ["reported", "", *(_number(one.reported) for one in columns)],
            *([name, f"`{row}`", *(_cell(one, row, out) for one in columns)] for name, row in self.rows.items()),
        ]


@settings_class
class Tables:
    """The tables of a paper, and the rules that give the commands of their steps.

    Attributes:
        tables: The tables by name.
        steps: Commands by the names of their steps; a ``%`` in a name matches anything.
        options: Words that commands share, by name.
        files: Files that must be provided, with a description.
        downloads: Data sets of ir_datasets, with ``documents`` and ``megabytes`` (10^6 bytes) where known.
        source: Where the reported figures come from.
        hardware: The hardware that is needed.
        work: The amount of work of a step, by the verb of its command.
        about: An introduction to all tables, in Markdown.
    """

    tables: Annotated[Mapping[str, Table], _each(Table)]
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
        """Reads tables from YAML.

        Args:
            text: The YAML.
            where: Where it comes from, for errors.

        Raises:
            ValueError: If it is not valid YAML, or a setting is unknown, missing or not allowed.
        """
        return make_settings(cls, parse_yaml(text, where), where)

    def table(self, name: str) -> Table:
        """Returns the table of that name.

        Raises:
            ValueError: If there is no such table.
        """
        if name not in self.tables:
            raise SettingError(f"there is no table {name!r}: there are {', '.join(self.tables)}")
        return self.tables[name]

    def plan(self, name: str, folders: Folders = Folders()) -> list[Step]:
        """Returns the steps of a table, each after the steps that it depends on.

        Raises:
            ValueError: If there is no such table, or a step is unknown, depends on itself or has an invalid command.

        Examples:
            >>> [step.name for step in open_tables().plan("postings")][:3]
            ['sae/main', 'model/main', 'index/main']
        """
        steps: dict[str, Step | None] = {}
        for target in self.table(name).targets:
            self._resolve(target, folders, steps)
        return [step for step in steps.values() if step is not None]

    def _resolve(self, name: str, folders: Folders, steps: dict[str, Step | None]) -> Path:
        """Adds a step, after those that it depends on, unless it was added before; returns the path of its output."""
        if name in steps:
            if steps[name] is None:
                raise SettingError(f"the step {name} depends on itself: change its command")
            return folders.out / name
        steps[name] = None
        inputs: dict[Path, str] = {}
        words = [self._filled(word, name, folders, steps, inputs) for word in shlex.split(self._command(name))]
        if not words or words[0] not in PROGRAMS:
            raise SettingError(
                f"the command of the step {name} must begin with {' or '.join(PROGRAMS)}, not {words[:1]}"
            )
        del steps[name]  # moves the step behind those that it depends on
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
            raise SettingError(f"there is no step {name!r}, and no rule that matches it")
        first, _, last = rule.partition("%")
        stem = name[len(first) : len(name) - len(last)]

        def option(match: re.Match[str]) -> str:
            if match[1] not in self.options:
                raise SettingError(
                    f"the step {rule} uses the option ${match[1]}, which is not defined: the options are "
                    f"{', '.join(self.options) or 'none'}"
                )
            return self.options[match[1]]

        return _OPTION.sub(option, self.steps[rule]).replace("%", stem)

    @cached_property
    def _datasets(self) -> list[str]:
        return sorted(self.downloads, key=len, reverse=True)

    def fetched(self, plan: Sequence[Step]) -> dict[str, Mapping[str, int]]:
        """Returns the data sets that steps download, in that order, with what is known of their size.

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
        """Returns a table with its commands and everything known about it, in Markdown.

        Args:
            name: The name of the table.
            folders: The folders to look for results and for steps that are done; ``None``: no folder is looked at.

        Raises:
            ValueError: As for :meth:`plan`.
        """
        table, plan = self.table(name), self.plan(name, folders or Folders())
        parts = [f"## `{name}`: {table.title}", table.about]
        if table.columns:
            parts.append(_markdown(table.cells(folders.out if folders else None)))
        if table.small:
            parts.append(f"Our results on small collections: {table.small}")
        parts.append("\n".join(f"- {fact}" for fact in self._facts(table, plan)))
        lines = [f"# done: {step.name}" if folders and step.is_done else str(step) for step in plan]
        parts.append("\n".join(["```bash", *lines, "```"]))
        return "\n\n".join(part for part in parts if part)

    def _facts(self, table: Table, plan: Sequence[Step]) -> Iterator[str]:
        if any(one.reported is not None for one in table.columns.values()):
            yield f"reported: {table.source or self.source}"
        inputs = {path: place for step in plan for path, place in step.inputs.items()}
        for path in (path for path, place in inputs.items() if place == "data"):
            yield f"must be provided: `{path}`, {self.files.get(path.name, path.name)}"
        for name, known in self.fetched(plan).items():
            yield f"downloaded: {_download(name, known)}"
        verbs = dict.fromkeys(step.words[1] for step in plan)
        if self.hardware and any(verb in self.work for verb in verbs):
            yield f"hardware: {self.hardware}"
        for verb in verbs:
            if verb in self.work:
                yield f"each `{verb}`: {self.work[verb]}"
        for one in table.missing:
            yield f"not covered here: {one}"

    def listing(self) -> str:
        """Returns a line for each table: its name, its title and the number of its commands."""
        width = max(map(len, self.tables))
        lines = (f"{name:{width}}  {one.title} ({len(self.plan(name))} commands)" for name, one in self.tables.items())
        return "\n".join(lines)

    def markdown(self) -> str:
        """Returns a page with all tables, in Markdown."""
        return "\n\n".join([self.about.strip(), *(self.describe(name) for name in self.tables)]) + "\n"


def open_tables(path: str | os.PathLike[str] | None = None) -> Tables:
    """Opens the tables of the paper, or others.

    Args:
        path: A YAML file in the format of ``pyterrier_saesplade/paper/paper.yaml``; ``None``: the tables of the paper.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not valid YAML, or a setting is unknown, missing or not allowed.

    Examples:
        >>> list(open_tables().tables)[:4]
        ['main', 'multilingual', 'k', 'k-lambda']
    """
    if path is None:
        return Tables.read(_DATA.read_text(encoding="utf-8"), "the paper's tables")
    return make_settings(Tables, read_yaml(Path(path)), str(path))


def _matches(rule: str, name: str) -> bool:
    first, anything, last = rule.partition("%")
    long_enough = len(name) >= len(first) + len(last)
    return long_enough and name.startswith(first) and name.endswith(last) if anything else name == rule


def _exactness(rule: str) -> tuple[bool, int]:
    return "%" not in rule, len(rule)


def _cell(column: Column, run: str, out: Path | None) -> str:
    """Returns the values of a column's steps, or an empty string if there are no results."""
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
