"""The text of the HTML report. tests_browser/ opens it in a browser."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import ClassVar

import pytest

from pyterrier_saesplade.errors import PathExistsError, PathNotFoundError, SettingError
from pyterrier_saesplade.evaluation import write_report
from pyterrier_saesplade.figures import plot_anisotropy

COSTS = {"index_mb": 1234.5, "mrt": 2.0, "encode_ms_per_query": 1.5, "retrieve_ms_per_query": 0.5, "build_seconds": 3.0}
ROWS = [
    {"name": "bm25", "RR@10": 0.6, "AP": 0.3, "qd_flops": 1.25, **COSTS},
    {"name": "dense", "RR@10": 0.7, "AP": 0.2, "qd_flops": None, **COSTS},
    {"name": '<i>&"sae"', "RR@10": 0.0, "AP": 0.4, "qd_flops": 12.5, **COSTS},
]


class Page(HTMLParser):
    """The cells of a page's tables. Checks that every tag is closed, in order."""

    VOID: ClassVar = {"meta", "img", "br", "link"}

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in {"td", "th"}:
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data

    def values(self, tag: str, attribute: str) -> list[str | None]:
        return [attributes[attribute] for name, attributes in self.tags if name == tag and attribute in attributes]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A comparison of three systems, with the values of three queries."""
    made = tmp_path / "made"
    made.mkdir()
    (made / "results.json").write_text(json.dumps(ROWS))
    lines = [f'"{name}",q{i},RR@10,{value}' for name, *values in QUERIES for i, value in enumerate(values)]
    (made / "perquery.csv").write_text("\n".join(["name,qid,measure,value", *lines]) + "\n")
    return made


QUERIES = [("bm25", 0.5, 0.5, 1.0), ("dense", 1.0, 0.5, 0.5), ('<i>&""sae""', 0.0, 0.0, 0.0)]


def test_one_comparison(folder: Path, tmp_path: Path) -> None:
    """Rounded figures. A missing figure is blank: ΔE where nothing is found, and QD-FLOPs of a dense system."""
    page = Page(write_report([folder], tmp_path / "report.html"))
    systems, gains, queries = page.tables
    assert systems[0][:5] == ["system", "RR@10", "AP", "QD-FLOPs", "index, MB"]
    assert [row[:5] for row in systems[1:]] == [
        ["bm25", "0.600", "0.300", "1.25", "1,234.50"],
        ["dense", "0.700", "0.200", "", "1,234.50"],
        ['<i>&"sae"', "0.000", "0.400", "12.50", "1,234.50"],
    ]
    assert [row[-1] for row in systems] == ["ΔE", "1.161", "", ""]
    assert gains == [
        ["system", "measure", "wins", "ties", "losses", "mean difference"],
        ["dense", "RR@10", "1", "1", "1", "0.000"],
        ['<i>&"sae"', "RR@10", "0", "0", "3", "−0.667"],  # noqa: RUF001
    ]
    assert [row[:2] for row in queries[1:]][:2] == [["dense", "q0"], ["dense", "q2"]]
    assert len(page.values("figure", "class")) == 0
    assert len(page.values("img", "alt")) == 3


def test_a_page_loads_nothing(folder: Path, tmp_path: Path) -> None:
    page = Page(write_report([folder], tmp_path / "report.html"))
    assert all(str(source).startswith("data:image/svg+xml;base64,") for source in page.values("img", "src"))
    assert page.values("script", "src") == page.values("link", "href") == page.values("a", "href") == []
    assert "http:" not in page.text.replace("http-equiv", "")
    assert "https:" not in page.text
    assert "url(" not in page.text


def test_several_comparisons_stand_side_by_side(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "results.json").write_text(json.dumps(ROWS[:1]))
    page = Page(write_report([folder, other], tmp_path / "report.html"))
    assert page.tables[0] == [
        ["system", "made", "other"],
        ["bm25", "0.600", "0.600"],
        ["dense", "0.700", ""],
        ['<i>&"sae"', "0.000", ""],
    ]
    assert [f"#{name}" for name in page.values("section", "id")] == page.values("a", "href")


def test_comparisons_by_different_measures(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "results.json").write_text(json.dumps([{"name": "bm25", "P@5": 0.25}]))
    page = Page(write_report([folder, other], tmp_path / "report.html"))
    assert page.tables[0][:2] == [["system", "RR@10, made", "P@5, other"], ["bm25", "0.600", "0.250"]]


def test_a_suite(tmp_path: Path) -> None:
    sets = {name: {"title": f"{name}: 5 documents", "measures": ["AP"], "rows": ROWS} for name in ("a", "b")}
    about = {"command": "saesplade evaluate --suite <x>", "versions": {"torch": "2.6"}, "date": "2026-01-01"}
    suite = {"suite": "small", "sets": sets, "mean": [{"name": "bm25", "AP": 0.3}], "about": about}
    (tmp_path / "suite.json").write_text(json.dumps(suite))
    page = Page(write_report([tmp_path], tmp_path / "report.html"))
    assert page.tables[0][:2] == [
        ["system", "small: mean of 2 sets", "a: 5 documents", "b: 5 documents"],
        ["bm25", "0.300", "0.300", "0.300"],
    ]
    assert "saesplade evaluate --suite &lt;x&gt;" in page.text


def test_figures_are_added(folder: Path, tmp_path: Path) -> None:
    for ending in ("png", "svg"):
        plot_anisotropy({"backbone": [0.1, 0.2]}, tmp_path / f"cone.{ending}")
    figures = [tmp_path / "cone.png", tmp_path / "cone.svg"]
    page = Page(write_report([folder], tmp_path / "report.html", figures=figures))
    assert page.values("img", "alt")[-2:] == ["cone", "cone"]
    assert str(page.values("img", "src")[-2]).startswith("data:image/png;base64,iVBOR")


def test_the_same_results_give_the_same_page(folder: Path, tmp_path: Path) -> None:
    one, two = (write_report([folder], tmp_path / f"{number}.html").read_bytes() for number in (1, 2))
    assert one == two


def test_after_an_error_nothing_is_written(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    with pytest.raises(SettingError):
        write_report([], out)
    with pytest.raises(PathNotFoundError, match=rf"{re.escape(str(tmp_path))}\b.*results\.json"):
        write_report([folder, tmp_path], out)
    with pytest.raises(SettingError, match=r"cone\.pdf"):
        write_report([folder], out, figures=[tmp_path / "cone.pdf"])
    assert not out.exists()
    out.write_text("mine")
    with pytest.raises(PathExistsError, match=re.escape(str(out))):
        write_report([folder], out)
    assert out.read_text() == "mine"
    assert write_report([folder], out, overwrite=True) == out
    assert out.read_text() != "mine"
