"""The names of systems: one registry and one grammar for the commands, for suites and for Python.

A name has one of these forms::

    KIND                          bm25
    KIND=SOURCE                   splade=naver/splade-v3
    KIND=SOURCE,OPTION=VALUE,…    saesplade,k=5,engine=pisa
    module:attribute              my_module:my_pipeline
    NAME+NAME                     bm25+dense=my-encoder

Each file of this folder declares its kinds with :func:`system_kind`. The help of the commands, the documentation and
the error messages are made from these declarations, so that a new kind only needs a new file.
"""

from __future__ import annotations

import pkgutil
import re
from collections import Counter
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import TypeAdapter, ValidationError

from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.evaluation.systems.base import System
from pyterrier_saesplade.evaluation.systems.concepts import ConceptSystem
from pyterrier_saesplade.evaluation.systems.custom import imported_system
from pyterrier_saesplade.evaluation.systems.hybrids import Fusion
from pyterrier_saesplade.evaluation.systems.kinds import KINDS, Given, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyterrier_saesplade.saesplade import SaeSplade

#: How options are abbreviated in the names of rows.
_SHORT = {"doc_max_length": "doc", "query_max_length": "query", "max_length": ""}

#: The pattern of ``module:attribute``.
_IMPORTED = r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*"


def kinds() -> dict[str, Kind]:
    """Returns all kinds by name, in alphabetical order, including those that other packages declared."""
    _import_files()
    return dict(sorted(KINDS.items()))


@cache
def _import_files() -> None:
    """Imports the files of this folder, which declare their kinds."""
    package = __name__.rpartition(".")[0]
    for module in pkgutil.iter_modules(import_module(package).__path__):
        import_module(f"{package}.{module.name}")


def check_systems(names: Iterable[str]) -> None:
    """Checks the syntax of names, which needs no model.

    Raises:
        SettingError: If a name does not follow the grammar of this module.
    """
    for name in names:
        _parts(name)


def make_system(name: str, compared: SaeSplade | None = None, language: str = "en") -> System:
    """Makes a system from its name.

    Args:
        name: The name, see this module for its grammar.
        compared: The model that is used where a name has no source; ``None`` if there is none.
        language: The language of documents and queries, as two letters.

    Raises:
        MissingPackageError: If a package that the system needs is not installed.
        JavaNotFoundError: If the system needs a later version of Java than is installed.
        PathNotFoundError: If a source is not a model.
        SettingError: If the name, an option or the language is not supported.

    Examples:
        >>> make_system("bm25").name
        'bm25'
    """
    return _made(_parts(name), set(), compared, language)


def make_systems(baselines: Iterable[str | System], model: SaeSplade, language: str = "en") -> list[System]:
    """Makes the systems of a comparison: the baselines, then the model, which is called ``saesplade`` or ``splade``.

    Lengths that are set on ``model`` apply to all systems, unless an option overrides them. Anything that a baseline
    lacks is reported here, before the first document is indexed.

    Args:
        baselines: The baselines: names as in :func:`make_system`, or systems.
        model: The model to compare.
        language: The language of documents and queries, as two letters.

    Raises:
        MissingPackageError: If a package that a baseline needs is not installed.
        JavaNotFoundError: If a baseline needs a later version of Java than is installed.
        PathNotFoundError: If a source is not a model.
        SettingError: If a name, an option or the language is not supported, two systems have the same name, or a name
            contains white space or a slash.

    Examples:
        >>> [system.name for system in make_systems(["bm25", "saesplade,k=5"], model)]
        ['bm25', 'saesplade-k5', 'saesplade']
    """
    if isinstance(baselines, str):
        raise SettingError(f"baselines must be a list, such as [{baselines!r}]")
    named = [baseline if isinstance(baseline, System) else _parts(baseline) for baseline in baselines]
    parts = [part for name in named if not isinstance(name, System) for part in name]
    checkpoints = Counter(kind for kind, _ in {(part.kind, part.source) for part in parts})
    checkpoints["splade"] += model.head == "mlm"
    ambiguous = {kind for kind, count in checkpoints.items() if count > 1}
    systems = [name if isinstance(name, System) else _made(name, ambiguous, model, language) for name in named]
    systems.append(ConceptSystem("saesplade" if model.head == "sae" else "splade", model))
    for system in systems:
        if system.name.split() != [system.name] or "/" in system.name:  # it names a run file, and a column of it
            raise SettingError(
                f"a system cannot be called {system.name!r}: give it a name without white space and slashes, or rename "
                "its folder"
            )
    repeated = [name for name, count in Counter(system.name for system in systems).items() if count > 1]
    if repeated:
        raise SettingError(f"two systems are called {repeated[0]}: leave one out, or rename its folder")
    return systems


def describe_systems() -> str:
    """Returns the syntax and the description of each kind, one per line, for the help of the commands.

    Examples:
        >>> print(describe_systems())
        anserini-bm25: BM25 of Anserini and Pyserini; English only
        anserini-rm3: anserini-bm25 with Anserini's RM3; English only
        bm25: Terrier's BM25, with k1 = 0.9 and b = 0.4
        ...
    """
    lines = []
    for kind in kinds().values():
        options = f" (options: {', '.join(kind.options)})" if kind.options else ""
        lines.append(f"{kind.usage}: {kind.help.replace('``', '')}{options}")
    lines += ["module:attribute: a pipeline of your own", "NAME+NAME: several systems, fused by reciprocal ranks"]
    return "\n".join(lines)


def systems_table() -> str:
    """Returns the kinds as a table in reStructuredText, for the documentation.

    Examples:
        >>> ".. list-table::" in systems_table()
        True
    """
    rows = [(f"``{kind.usage}``", kind.help, ", ".join(f"``{o}``" for o in kind.options)) for kind in kinds().values()]
    rows.append(("``module:attribute``", "a pipeline of your own, see below", ""))
    rows.append(("``NAME+NAME``", "several systems, fused by reciprocal ranks", ""))
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for cells in [("name", "system", "options"), *rows]:
        lines += [f"   {'*' if cell is cells[0] else ' '} - {cell}".rstrip() for cell in cells]
    return "\n".join(lines) + "\n"


def _parts(name: str) -> list[Given]:
    """Splits a name at each ``+`` that fuses, and parses the parts."""
    known = "|".join(map(re.escape, kinds()))
    # A + only fuses if another name follows: words+concepts is one kind, and a folder's name may contain a +.
    fused = re.split(rf"\+(?=(?:{known})(?:[=,+]|$)|{_IMPORTED})", name)
    return [_parsed(part) for part in fused]


def _parsed(name: str) -> Given:
    first, *assignments = name.split(",")
    word, equals, source = first.partition("=")
    if re.fullmatch(_IMPORTED, word) and not equals and not assignments:
        return Given("module", word, label=word.rpartition(":")[2])
    if word not in kinds():
        raise SettingError(
            f"there is no system {name!r}: give one of {', '.join(kind.usage for kind in kinds().values())}, "
            "module:attribute for a pipeline of your own, or several of these joined by +"
        )
    kind = kinds()[word]
    if kind.needs_source and not source:
        raise SettingError(f"{name!r} has no source: write {kind.usage}")
    if equals and not source:
        raise SettingError(f"{name!r} has nothing after the =: write {kind.usage}")
    if source and kind.source is None:
        raise SettingError(f"{name!r} has a source, but {word} takes none")
    options = dict(_option(name, kind, assignment) for assignment in assignments)
    return Given(word, source or None, options)


def _option(name: str, kind: Kind, assignment: str) -> tuple[str, Any]:
    option, _, value = assignment.partition("=")
    if option not in kind.options or not value:
        options = ", ".join(f"{known}=VALUE" for known in kind.options) or "none"
        raise SettingError(f"{name!r}: {assignment!r} is not an option of {kind.name}. Its options are: {options}")
    try:
        return option, TypeAdapter(kind.options[option]).validate_python(yaml.safe_load(value), strict=True)
    except (ValidationError, yaml.YAMLError, ValueError) as error:  # a date such as 2024-13-01 is a ValueError
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise SettingError(f"{name!r}: {option} cannot be {value!r}: {reason}") from error


def _made(parts: list[Given], ambiguous: set[str], compared: SaeSplade | None, language: str) -> System:
    systems: list[System] = []
    for part in parts:
        if part.kind == "module":
            systems.append(imported_system(str(part.source)))
            continue
        given = Given(part.kind, part.source, part.options, _label(part, ambiguous), language, compared)
        systems.append(kinds()[part.kind].make(given))
    if len(systems) == 1:
        return systems[0]
    return Fusion("+".join(system.name for system in systems), systems)


def _label(part: Given, ambiguous: set[str]) -> str:
    """Returns the name of a row: the kind, the folder of the source if needed, the options, and the engine."""
    kind = kinds()[part.kind]
    named = part.source is not None and (not kind.needs_source or part.kind in ambiguous)
    folder = [Path(str(part.source)).absolute().name] if named else []
    shown = [f"{_SHORT.get(name, name)}{value}" for name, value in part.options.items() if name != "engine"]
    engine = part.options.get("engine", "terrier")
    return "-".join([part.kind, *folder, *shown, *([] if engine == "terrier" else [engine])])
