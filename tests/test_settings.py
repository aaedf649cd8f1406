"""Settings of YAML files: what is read, what is refused, and how the error says it."""

import copy
import dataclasses
import doctest
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, PositiveFloat, PositiveInt

from pyterrier_saesplade import settings
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


def test_doctests() -> None:
    results = doctest.testmod(settings)
    assert results.attempted > 0
    assert results.failed == 0


def test_a_file_is_read(tmp_path: Path) -> None:
    """An integer becomes a float where one is wanted; everything else stays what YAML reads."""
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
    with pytest.raises(SettingError, match=r"^depth must be greater than 0, not 0$"):
        dataclasses.replace(search, depth=0)
    with pytest.raises(SettingError, match=r"^unknown setting dept: did you mean depth"):
        Search(engine="pisa", dept=5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"depht": 3}, "unknown setting depht: did you mean depth?"),
        (
            {"xyz": 3},
            "unknown setting xyz: the settings are engine, depth, rounds, threshold, layer, exact, measures, names",
        ),
        ({7: 3}, "unknown setting 7: the settings are engine, "),
        ({"depth": "8"}, "depth must be an integer, not '8'"),
        ({"depth": 8.0}, "depth must be an integer, not 8.0"),
        ({"depth": True}, "depth must be an integer, not True"),
        ({"depth": None}, "depth must be an integer, not None"),
        ({"depth": 0}, "depth must be greater than 0, not 0"),
        ({"rounds": 1}, "rounds must be greater than or equal to 2, not 1"),
        ({"threshold": True}, "threshold must be a number, not True"),
        ({"threshold": float("nan")}, "threshold must be a finite number, not nan"),
        ({"layer": "first"}, "layer must be an integer, or 'last' or 'h', not 'first'"),
        ({"layer": True}, "layer must be an integer, or 'last' or 'h', not True"),
        ({"exact": 1}, "exact must be true or false, not 1"),
        ({"engine": 3}, "engine must be a string, not 3 (in YAML, put it in quotes)"),
        ({"measures": "AP"}, "measures must be a list, not 'AP'"),
        ({"measures": 3}, "measures must be a list, not 3"),
        ({"measures": ["AP", 5]}, "measures.1 must be a string, not 5"),
        ({"names": ["a"]}, "names must be a mapping, not ['a']"),
        ({"names": {"a": 3}}, "names.a must be a string, not 3"),
        ({"exact": True, "depth": 101}, "depth must be at most 100 with exact"),
        ({"depth": 0, "exact": "no"}, "depth must be greater than 0, not 0; exact must be true or false, not 'no'"),
    ],
)
def test_what_is_not_allowed(given: dict[Any, Any], message: str) -> None:
    with pytest.raises(SettingError) as error:
        make_settings(Search, {"engine": "pisa"} | given, "search.yaml")
    assert str(error.value).startswith(f"search.yaml: {message}")
    assert "\n" not in str(error.value)


def test_what_is_missing() -> None:
    with pytest.raises(SettingError, match=r"^search\.yaml: engine is missing$"):
        make_settings(Search, {}, "search.yaml")
    with pytest.raises(SettingError, match=r"^search\.yaml: expected settings, one 'name: value' per line, not \[3\]$"):
        make_settings(Search, [3], "search.yaml")


def test_numbers_that_yaml_reads_as_strings() -> None:
    with pytest.raises(SettingError) as error:
        make_settings(Search, parse_yaml("engine: pisa\nthreshold: 1e-4", "a.yaml"), "a.yaml")
    hint = "(YAML reads 5e-5 as a string: write 5.0e-5)"
    assert str(error.value) == f"a.yaml: threshold must be a number, not '1e-4' {hint}"
    assert parse_yaml("threshold: 1.0e-4", "a.yaml") == {"threshold": 1e-4}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [", "is not valid YAML: "),
        (b"a: 2024-13-01", "is not valid YAML: month must be in 1..12"),
        (b"a: \xe9\xe9", "is not valid YAML: "),
        (b"!!python/object/apply:os.getcwd []", "is not valid YAML: could not determine a constructor"),
        (b"[a, b]", "expected settings, one 'name: value' per line, not ['a', 'b']"),
        (b"text", "expected settings, one 'name: value' per line, not 'text'"),
        (b"", "expected settings, one 'name: value' per line, not nothing"),
    ],
)
def test_files_that_hold_no_settings(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_bytes(content)
    with pytest.raises(SettingError) as error:
        read_yaml(file)
    assert str(error.value).startswith(str(file))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_do_not_exist(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.yaml", tmp_path):
        with pytest.raises(PathNotFoundError, match=f"there is no file {path}"):
            read_yaml(path)
