"""Settings from YAML files and keyword arguments, checked by pydantic and reported in one line.

:func:`settings_class` declares settings as a dataclass. :func:`read_yaml` reads a file, and :func:`make_settings`
converts its content to an instance of such a class. Invalid settings raise a
:exc:`~pyterrier_saesplade.errors.SettingError` that names the file, the setting, its value and what is allowed.
"""

from __future__ import annotations

import dataclasses
import functools
import reprlib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeVar, dataclass_transform

import pydantic.dataclasses
import yaml
from pydantic import ConfigDict, Field, ValidationError

from pyterrier_saesplade.errors import PathNotFoundError, SettingError

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic_core import ErrorDetails

T = TypeVar("T")

#: Values are not converted (``"8"`` is not 8, ``true`` is not 1), except that floats may be given as integers.
_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

#: What is allowed, by pydantic's type of error, where pydantic's own message is written for programmers.
_ALLOWED = {
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "float_type": "a number",
    "int_type": "an integer",
    "is_instance_of": "a list",
    "sequence_str": "a list",
    "string_type": "a string",
    "tuple_type": "a list",
}


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field, Field))
def settings_class(cls: type[T]) -> type[T]:
    """Declares a class of settings: a frozen dataclass with checked keyword arguments.

    The annotations of its fields say what is allowed, as in pydantic: ``PositiveInt``, ``Literal["a", "b"]``,
    ``Annotated[int, Field(ge=4)]``. Checks that involve several fields belong in ``__post_init__`` and raise a
    :exc:`~pyterrier_saesplade.errors.SettingError`. Default values are not checked.

    Args:
        cls: The class to decorate. Creating an instance, including by :func:`dataclasses.replace`, raises a
            ``SettingError`` if a setting is unknown, missing or not allowed.

    Returns:
        The same class.

    Examples:
        >>> @settings_class
        ... class Search:
        ...     depth: pydantic.PositiveInt = 10
        >>> Search(depth=5)
        Search(depth=5)
        >>> Search(depht=5)
        Traceback (most recent call last):
        ...
        pyterrier_saesplade.errors.SettingError: unknown setting depht: did you mean depth?
    """
    made: Any = pydantic.dataclasses.dataclass(frozen=True, kw_only=True, config=_STRICT)(cls)
    validate = made.__init__

    @functools.wraps(validate)
    def checked(self: T, /, **given: Any) -> None:
        try:
            validate(self, **given)
        except ValidationError as error:
            known = [field.name for field in dataclasses.fields(made)]
            raise SettingError(_explain(error, given, known)) from error

    made.__init__ = checked
    decorated: type[T] = made
    return decorated


def make_settings(kind: type[T], given: object, where: str) -> T:
    """Converts the content of a YAML file to settings.

    Args:
        kind: A class declared by :func:`settings_class`.
        given: The content of the file, or a part of it.
        where: The file, and the location in it, for error messages.

    Returns:
        An instance of ``kind``.

    Raises:
        SettingError: If ``given`` is not a mapping, or a setting is unknown, missing or not allowed.
    """
    if not isinstance(given, Mapping):
        raise SettingError(f"{where}: expected settings, one 'name: value' per line, not {reprlib.repr(given)}")
    try:
        return kind(**{str(name): value for name, value in given.items()})
    except SettingError as error:
        raise SettingError(f"{where}: {error}") from error


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads a YAML file that contains a mapping.

    Raises:
        PathNotFoundError: If there is no such file.
        SettingError: If it is not valid YAML, or does not contain a mapping.

    Examples:
        >>> _ = Path("settings.yaml").write_text("k: 8")
        >>> read_yaml(Path("settings.yaml"))
        {'k': 8}
    """
    if not path.is_file():
        raise PathNotFoundError(f"there is no file {path}")
    return parse_yaml(path.read_bytes(), str(path))


def parse_yaml(text: str | bytes, where: str) -> dict[str, Any]:
    """Parses YAML text that contains a mapping.

    Args:
        text: The text, as a string or as UTF-8 bytes.
        where: The source of the text, for error messages.

    Raises:
        SettingError: If it is not valid YAML, or does not contain a mapping.

    Examples:
        >>> parse_yaml("k: 8", "settings.yaml")
        {'k': 8}
    """
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # a date such as 2024-13-01 is a ValueError
        raise SettingError(f"{where} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        found = "nothing" if content is None else reprlib.repr(content)
        raise SettingError(f"{where}: expected settings, one 'name: value' per line, not {found}")
    return content


def _explain(error: ValidationError, given: Mapping[str, Any], known: Sequence[str]) -> str:
    """Returns one line that says what is wrong with the ``given`` settings; ``known`` are the names that exist."""
    # A union gives one error for each of its members.
    by_place = groupby(error.errors(include_url=False), lambda one: _place(one["loc"], given))
    return "; ".join(_problem(place, list(errors), known) for place, errors in by_place)


def _place(location: Sequence[int | str], given: Mapping[str, Any]) -> str:
    """Returns a location without the tags of unions, which pydantic appends: ``prefixes.2``."""
    parts, value = [*map(str, location[:1])], given.get(str(location[0])) if location else None
    for part in location[1:]:
        try:
            value = value[part]  # type: ignore[index]
        except (IndexError, KeyError, TypeError):
            break
        parts.append(str(part))
    return ".".join(parts)


def _problem(place: str, errors: Sequence[ErrorDetails], known: Sequence[str]) -> str:
    kind, value = errors[0]["type"], errors[0]["input"]
    if kind == "value_error":
        return str(errors[0]["ctx"]["error"])
    if kind.startswith("missing"):
        return f"{place} is missing"
    if kind == "unexpected_keyword_argument":
        near = get_close_matches(place, known)
        return f"unknown setting {place}: " + (
            f"did you mean {' or '.join(near)}?" if near else f"the settings are {', '.join(known)}"
        )
    allowed = [_ALLOWED.get(one["type"], one["msg"].removeprefix("Input should be ")) for one in errors]
    return f"{place} must be {', or '.join(allowed)}, not {reprlib.repr(value)}{_hint(kind, value)}"


def _hint(kind: str, value: object) -> str:
    """Returns a hint on how to write a value that YAML parses as a different type."""
    if kind == "float_type" and isinstance(value, str):
        return " (YAML reads 5e-5 as a string: write 5.0e-5)"
    return " (in YAML, put it in quotes)" if kind == "string_type" else ""
