"""Figures: the data that they show, the place of every text, and their files."""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from pyterrier_saesplade import figures as plots
from pyterrier_saesplade.errors import DataError, MissingPackageError, PathExistsError, SettingError
from pyterrier_saesplade.impacts import LatentStatistics
from pyterrier_saesplade.metrics import delta_e

TABLE = pd.DataFrame(
    {
        "name": ["bm25", "dense", "sae", "sae", "sae", "bm25"],
        "k": [1, 1, 4, 8, 16, 1],
        "qd_flops": [1.25, None, 5.0, 11.0, 25.0, 1.25],
        "nDCG@10": [0.62, 0.60, 0.60, 0.65, 0.66, 0.62],
        "RR@10": [0.62, 0.60, 0.60, 0.65, 0.66, 0.62],
    }
)
SWEPT = TABLE[TABLE["name"] == "sae"]
STATISTICS = LatentStatistics(np.array([0, 1, 3, 40, 100, 0, 7, 7]), 100)
LOG = [{"step": step, "loss": 50 / step, "fvu": 1 / step, "dead": step / 100} for step in (10, 20, 30)]
VALIDATIONS = [
    {"step": step, "eval_RR@10": 0.5 + step / 100, "eval_nDCG@10": 0.4, "eval_qd_flops": 1.0 + step} for step in (1, 2)
]
DIFFERENCES = pd.Series([0.5, 0.1, 0.0, -0.2])

FIGURES: dict[str, Callable[[Path], None]] = {
    "tradeoff": lambda path: plots.plot_tradeoff(TABLE, "nDCG@10", path, title="docs: 2 documents"),
    "delta-e": lambda path: plots.plot_tradeoff(TABLE, "RR@10", path),
    "k": lambda path: plots.plot_k_sweep(SWEPT, "nDCG@10", path),
    "k-lambda": lambda path: plots.plot_k_lambda(SWEPT.assign(k=[4, 4, 8]), "nDCG@10", path),
    "postings": lambda path: plots.plot_postings({"sae": STATISTICS, "splade": STATISTICS}, path),
    "frequencies": lambda path: plots.plot_document_frequencies(STATISTICS, path, title="docs"),
    "anisotropy": lambda path: plots.plot_anisotropy({"MiniLM": [0.1, 0.3, 0.2]}, path),
    "precision-recall": lambda path: plots.plot_precision_recall({"bm25": np.linspace(1, 0, 11).tolist()}, path),
    "differences": lambda path: plots.plot_differences(DIFFERENCES, path, measure="AP", system="sae", baseline="bm25"),
    "training": lambda path: plots.plot_training({"a": LOG, "b": LOG[:2]}, path),
    "validations": lambda path: plots.plot_validations(VALIDATIONS, path),
}


@contextmanager
def drawn() -> Iterator[list[Figure]]:
    """Collects the figures that are written inside the block."""
    figures: list[Figure] = []
    save = Figure.savefig

    def keep(figure: Figure, *args: Any, **kwargs: Any) -> None:
        figures.append(figure)
        save(figure, *args, **kwargs)
        FigureCanvasAgg(figure).draw()  # so that the places of texts are known, whatever the kind of file

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", keep)
        yield figures


@pytest.mark.parametrize("name", FIGURES)
def test_every_text_has_its_place(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are one column wide. No text is cut off, smaller than 7 points, or covered by another."""
    with drawn() as figures:
        FIGURES[name](tmp_path / "figure.png")
    [figure] = figures
    assert imread(tmp_path / "figure.png").shape[1] == 1020
    boxes: list[tuple[str, Bbox]] = []
    draw = Text.draw

    def note(text: Text, renderer: Any) -> None:
        if text.get_visible() and text.get_text().strip():
            assert text.get_fontsize() >= 7, text.get_text()
            boxes.append((text.get_text(), text.get_window_extent(renderer)))
        draw(text, renderer)

    monkeypatch.setattr(Text, "draw", note)
    figure.canvas.draw()
    assert len(boxes) > 5
    for i, (text, box) in enumerate(boxes):
        assert box.x0 >= 0, text
        assert box.x1 <= figure.bbox.x1, text
        assert not [other for other, its in boxes[:i] if box.overlaps(its)], text


@pytest.mark.parametrize("ending", [".png", ".pdf", ".svg"])
def test_the_same_data_give_the_same_file(ending: str, tmp_path: Path) -> None:
    for number in (1, 2):
        plots.plot_tradeoff(TABLE, "RR@10", tmp_path / f"{number}{ending}")
    one, two = ((tmp_path / f"{number}{ending}").read_bytes() for number in (1, 2))
    assert one == two
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"1{ending}", f"2{ending}"]


def test_figures_leave_matplotlib_as_it_was(tmp_path: Path) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    plots.plot_tradeoff(TABLE, "RR@10", tmp_path / "figure.png")
    assert dict(matplotlib.rcParams) == before


def test_a_sweep_is_one_line_and_equal_rows_are_one_point(tmp_path: Path) -> None:
    with drawn() as figures:
        plots.plot_tradeoff(TABLE, "nDCG@10", tmp_path / "figure.png")
    lines = {line.get_label(): line for line in figures[0].axes[0].lines}
    assert lines["sae"].get_xydata().tolist() == [[5.0, 0.60], [11.0, 0.65], [25.0, 0.66]]
    assert lines["bm25"].get_xydata().tolist() == [[1.25, 0.62]]
    assert lines["dense"].get_ydata() == [0.60, 0.60]
    assert lines["dense"].get_linestyle() == "--"


def test_lines_of_equal_delta_e(tmp_path: Path) -> None:
    """ΔE at each point of a contour is the value at its end."""
    with drawn() as figures:
        plots.plot_tradeoff(TABLE, "RR@10", tmp_path / "figure.png")
    axes, beside = figures[0].axes
    values = [float(label.get_text()) for label in beside.get_yticklabels()]
    assert len(values) >= 3
    for value, end in zip(values, beside.get_yticks(), strict=True):
        assert delta_e(end, axes.get_xlim()[1]) == pytest.approx(value, abs=1e-3)
    [contours] = [collection for collection in axes.collections if hasattr(collection, "levels")]
    for level, path in zip(contours.levels, contours.get_paths(), strict=True):
        for x, y in path.vertices[::20]:
            assert delta_e(y, x) == pytest.approx(level, abs=1e-2)


def test_the_dead_latents_are_counted(tmp_path: Path) -> None:
    """Two of eight latents are dead. The others are counted by the power of two that their frequency reaches."""
    with drawn() as figures:
        plots.plot_document_frequencies(STATISTICS, tmp_path / "figure.png")
    [axes] = figures[0].axes
    heights = [round(bar.get_height() * 8) for bar in axes.patches]
    assert heights == [1, 1, 2, 0, 0, 1, 1, 2]
    assert axes.get_legend_handles_labels()[1] == ["dead: 25.0% of 8 latents"]


def test_wins_and_losses_are_counted(tmp_path: Path) -> None:
    with drawn() as figures:
        FIGURES["differences"](tmp_path / "figure.png")
    [axes] = figures[0].axes
    assert axes.get_legend_handles_labels()[1] == ["sae is better: 2", "bm25 is better: 1"]
    assert axes.get_xlabel() == "queries (1 without a difference)"


def test_names_of_systems_are_plain_text(tmp_path: Path) -> None:
    """Dollars and underscores have no meaning in them, and long names are wrapped."""
    names = ["$x_1$ and $y", "_hidden", "a name " * 20]
    with drawn() as figures:
        plots.plot_tradeoff(TABLE.head(3).assign(name=names), "nDCG@10", tmp_path / "figure.png")
    [figure] = figures
    [legend] = figure.legends
    shown = [text.get_text().replace(r"\$", "$") for text in legend.get_texts()]
    assert [" ".join(text.split()) for text in shown] == [" ".join(name.split()) for name in names]
    assert legend.get_window_extent().width < figure.bbox.width


def test_many_systems_are_distinguished(tmp_path: Path) -> None:
    """Single points differ in their markers and sweeps in their lines. A long legend does not make the axes smaller."""
    table = pd.DataFrame({"name": [f"system {i}" for i in range(20)], "qd_flops": range(1, 21), "AP": 0.5})
    with drawn() as figures:
        plots.plot_tradeoff(table, "AP", tmp_path / "figure.png")
        plots.plot_tradeoff(pd.concat([table, table.assign(AP=0.6)]), "AP", tmp_path / "sweeps.png")
        plots.plot_tradeoff(table.head(3), "AP", tmp_path / "few.png")
    points, sweeps, few = (figure.axes[0] for figure in figures)
    assert {line.get_linestyle() for line in points.lines} == {"None"}
    assert len({(line.get_color(), line.get_marker()) for line in points.lines}) == 20
    assert len({(line.get_color(), line.get_linestyle()) for line in sweeps.lines}) == 20
    heights = [axes.get_window_extent().height for axes in (points, few)]
    assert heights[0] > 0.8 * heights[1]


def test_trainings_of_two_kinds_show_what_both_log(tmp_path: Path) -> None:
    other = [{"step": 5, "loss": 3.0, "l0_doc": 100.0}]
    with drawn() as figures:
        plots.plot_training({"pretrained": LOG, "tuned": other}, tmp_path / "figure.png")
    assert [axes.get_ylabel() for axes in figures[0].axes] == ["loss"]
    with pytest.raises(DataError, match=r"\ba, b\b"):
        plots.plot_training({"a": LOG, "b": [{"step": 1}]}, tmp_path / "none.png")


def test_without_validations_there_is_no_figure(tmp_path: Path) -> None:
    plots.plot_validations(LOG, tmp_path / "figure.png")
    assert list(tmp_path.iterdir()) == []


def test_an_index_without_postings_has_no_figure(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\bempty\b"):
        plots.plot_postings({"empty": LatentStatistics(np.zeros(4, np.int64), 3)}, tmp_path / "figure.png")
    assert list(tmp_path.iterdir()) == []


def test_a_figure_that_cannot_be_drawn_is_an_error_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "figure.png"
    plots.require_figure(path)
    with pytest.raises(SettingError, match=r"figure\.gif.*\.png.*\.pdf.*\.svg"):
        plots.require_figure(tmp_path / "figure.gif")
    path.touch()
    plots.require_figure(path, overwrite=True)
    with pytest.raises(PathExistsError, match=re.escape(str(path))):
        plots.require_figure(path)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'pyterrier_saesplade\[plots\]'"):
        plots.require_figure(tmp_path / "other.png")


def test_the_figure_shows_every_system(tmp_path: Path) -> None:
    """A system with QD-FLOPs is a point, and one without is a dashed line. The figure is a column wide, at 300 dpi."""
    plots.plot_tradeoff(TABLE.head(2), "nDCG@10", tmp_path / "both.png", title="docs")
    plots.plot_tradeoff(TABLE.head(1), "nDCG@10", tmp_path / "one.png", title="docs")
    both, one = imread(tmp_path / "both.png"), imread(tmp_path / "one.png")
    assert both.shape[:2] == (870, 1020)
    blue, vermilion = (0, 114 / 255, 178 / 255), (213 / 255, 94 / 255, 0)

    def pixels(image: object, colour: tuple[float, float, float]) -> int:
        return int((abs(image[..., :3] - colour).max(axis=2) < 0.02).sum())

    assert pixels(both, blue) > 200
    assert pixels(both, vermilion) > 500
    assert pixels(one, vermilion) == 0
    # The line is dashed, so only a part of the pixels in its row are coloured.
    row = (abs(both[..., :3] - vermilion).max(axis=2) < 0.02).sum(axis=1).max()
    assert 300 < row < 800
