"""Settings in YAML files: what is read, what is refused, and what the errors name."""

import copy
import dataclasses
import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, PositiveFloat, PositiveInt

from pyterrier_saesplade.errors import PathNotFoundError, SettingError
from pyterrier_saesplade.settings import make_settings, parse_yaml, read_yaml, settings_class


@settings_class
class Search:
    """One field of each kind."""

    engine: str
    depth: PositiveInt = 10
    rounds: Annotated[int, Field(ge=2)] | None = None
    threshold: PositiveFloat = 1.0
    layer: PositiveInt | Literal["last", "h"] = "last"
    exact: bool = False
    measures: Sequence[str] = ()
    names: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.exact and self.depth > 100:
            raise SettingError("depth must be at most 100 with exact")


def test_a_file_is_read(tmp_path: Path) -> None:
    """An integer becomes a float where a float is expected. Other values stay as YAML reads them."""
    file = tmp_path / "search.yaml"
    file.write_text("engine: pisa\nthreshold: 2\nlayer: 3\nmeasures: [AP, RR]\nnames: {a: ä}\n", encoding="utf-8")
    search = make_settings(Search, read_yaml(file), str(file))
    assert search == Search(engine="pisa", threshold=2.0, layer=3, measures=["AP", "RR"], names={"a": "ä"})
    assert type(search.threshold) is float
    assert search.depth == 10


def test_settings_are_dataclasses() -> None:
    search = Search(engine="pisa", measures=["AP"])
    assert dataclasses.replace(search, depth=5) == Search(engine="pisa", depth=5, measures=["AP"])
    assert Search(**dataclasses.asdict(search)) == search == pickle.loads(pickle.dumps(search))
    assert copy.deepcopy(search) == search
    with pytest.raises(dataclasses.FrozenInstanceError):
        search.depth = 5  # type: ignore[misc]
    with pytest.raises(SettingError, match=r"\bdepth\b.*\b0\b"):
        dataclasses.replace(search, depth=0)
    with pytest.raises(SettingError, match=r"\bdept\b.*\bdepth\b"):
        Search(engine="pisa", dept=5)


@pytest.mark.parametrize(
    ("given", "facts"),
    [
        ({"depht": 3}, ["depht", "depth"]),
        ({"xyz": 3}, ["xyz", "engine, depth, rounds, threshold, layer, exact, measures, names"]),
        ({7: 3}, ["7", "engine, depth"]),
        ({"depth": "8"}, ["depth", "integer", "'8'"]),
        ({"depth": 8.0}, ["depth", "integer", "8.0"]),
        ({"depth": True}, ["depth", "integer", "True"]),
        ({"depth": None}, ["depth", "integer", "None"]),
        ({"depth": 0}, ["depth", "0"]),
        ({"rounds": 1}, ["rounds", "2", "1"]),
        ({"threshold": True}, ["threshold", "number", "True"]),
        ({"threshold": float("nan")}, ["threshold", "number", "nan"]),
        ({"layer": "first"}, ["layer", "integer", "'last'", "'h'", "'first'"]),
        ({"layer": True}, ["layer", "integer", "'last'", "'h'", "True"]),
        ({"exact": 1}, ["exact", "true", "false", "1"]),
        ({"engine": 3}, ["engine", "string", "3", "YAML"]),
        ({"measures": "AP"}, ["measures", "list", "'AP'"]),
        ({"measures": 3}, ["measures", "list", "3"]),
        ({"measures": ["AP", 5]}, ["measures.1", "string", "5"]),
        ({"names": ["a"]}, ["names", "mapping", "['a']"]),
        ({"names": {"a": 3}}, ["names.a", "string", "3"]),
        ({"exact": True, "depth": 101}, ["depth must be at most 100 with exact"]),  # of Search itself
        ({"depth": 0, "exact": "no"}, ["depth", "0", "exact", "'no'"]),
    ],
)
def test_values_that_are_not_allowed(given: dict[Any, Any], facts: list[str]) -> None:
    """The error begins with the place, and names the setting, what it must be, and its value."""
    with pytest.raises(SettingError) as error:
        make_settings(Search, {"engine": "pisa"} | given, "search.yaml")
    message = str(error.value)
    assert message.startswith("search.yaml: ")
    assert all(re.search(rf"(?<![\w.]){re.escape(fact)}(?!\w)", message) for fact in facts), message
    assert "\n" not in message


def test_missing_settings() -> None:
    with pytest.raises(SettingError, match=r"^search\.yaml: .*\bengine\b"):
        make_settings(Search, {}, "search.yaml")
    with pytest.raises(SettingError, match=r"^search\.yaml: .*\[3\]"):
        make_settings(Search, [3], "search.yaml")


def test_numbers_that_yaml_reads_as_strings() -> None:
    """The error has a hint, because YAML 1.1 needs a point in numbers with an exponent."""
    with pytest.raises(SettingError) as error:
        make_settings(Search, parse_yaml("engine: pisa\nthreshold: 1e-4", "a.yaml"), "a.yaml")
    assert all(fact in str(error.value) for fact in ("a.yaml: ", "threshold", "'1e-4'", "YAML", "5.0e-5"))
    assert parse_yaml("threshold: 1.0e-4", "a.yaml") == {"threshold": 1e-4}


@pytest.mark.parametrize(
    ("content", "facts"),
    [
        (b"a: [", ["YAML"]),
        (b"a: 2024-13-01", ["YAML", "month must be in 1..12"]),
        (b"a: \xe9\xe9", ["YAML"]),
        (b"!!python/object/apply:os.getcwd []", ["YAML", "could not determine a constructor"]),
        (b"[a, b]", ["['a', 'b']"]),
        (b"text", ["'text'"]),
        (b"", ["nothing"]),
    ],
)
def test_files_without_settings(content: bytes, facts: list[str], tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_bytes(content)
    with pytest.raises(SettingError) as error:
        read_yaml(file)
    assert str(error.value).startswith(str(file))
    assert all(fact in str(error.value) for fact in facts), error.value
    assert "\n" not in str(error.value)


def test_files_that_do_not_exist(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.yaml", tmp_path):
        with pytest.raises(PathNotFoundError, match=re.escape(str(path))):
            read_yaml(path)
