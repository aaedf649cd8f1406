"""`saesplade plot` and `saesplade report`, on what `saesplade evaluate` wrote."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pyterrier_saesplade.cli import app
from pyterrier_saesplade.evaluation import evaluate

pytestmark = pytest.mark.slow


def saesplade(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    return result.exit_code, result.stderr.strip()


@pytest.fixture(scope="module")
def comparison(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of a comparison, and the index of the model."""
    out = tmp_path_factory.mktemp("comparison")
    measures = ["nDCG@10", "RR@10"]
    return out, evaluate(folder / "docs", folder / "model", out, baselines=["bm25"], measures=measures).index


def test_every_kind_of_figure(comparison: tuple[Path, Path], folder: Path, splade_path: Path, tmp_path: Path) -> None:
    out_folder, index = comparison
    collection = ["--collection", folder / "docs"]
    sweep = tmp_path / "sweep.csv"
    sweep.write_text("name,k,qd_flops,nDCG@10\nsae,4,1,0.3\nsae,4,2,0.4\nsae,8,3,0.5\n")
    model = tmp_path / "model"
    model.mkdir()
    (model / "training.json").write_text(json.dumps({"log": [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]}))
    for number, arguments in enumerate(
        [
            ["tradeoff", out_folder, f"other={out_folder}"],
            ["sweep", sweep],
            ["sweep", sweep, "--weights"],
            ["differences", out_folder],
            ["precision-recall", out_folder, *collection],
            ["postings", index, f"again={index}"],
            ["document-frequencies", index],
            ["anisotropy", "--backbone", f"tiny={splade_path}", *collection, "--device", "cpu"],
            ["training", model],
        ]
    ):
        out = tmp_path / f"{number}.pdf"
        assert saesplade("plot", *arguments, "--out", out) == (0, "")
        assert out.read_bytes().startswith(b"%PDF")
        code, message = saesplade("plot", *arguments, "--out", out)
        assert (code, str(out) in message, len(message.splitlines())) == (2, True, 1)
        assert saesplade("plot", *arguments, "--out", out, "--overwrite") == (0, "")


def test_precision_and_recall_of_another_query_set(
    comparison: tuple[Path, Path], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The judgements of that set count. Those of the main set, or of queries that were not run, do not."""
    docs = shutil.copytree(folder / "docs", tmp_path / "docs")
    (docs / "test").mkdir()
    main = docs / "qrels.txt"
    judged = main.read_text()
    (docs / "test" / "qrels.txt").write_text(f"{judged}unjudged 0 d1 1\n")
    main.write_text("unjudged 0 d1 1\n")
    drawn: list[dict[str, list[float]]] = []
    monkeypatch.setattr(
        "pyterrier_saesplade.figures.plot_precision_recall", lambda curves, *_, **__: drawn.append(curves)
    )
    asked = ["plot", "precision-recall", comparison[0], "--out", tmp_path / "x.pdf", "--collection"]
    assert saesplade(*asked, folder / "docs") == (0, "")
    assert saesplade(*asked, docs, "--query-set", "test") == (0, "")
    assert drawn[0] == drawn[1]
    assert drawn[0]["bm25"][0] > 0
    code, said = saesplade(*asked, docs)
    assert (code, "'q1'" in said, str(comparison[0]) in said) == (2, True, True)


def test_a_report(comparison: tuple[Path, Path], tmp_path: Path) -> None:
    folder, _ = comparison
    out = tmp_path / "report.html"
    assert saesplade("report", folder, "--figure", folder / "results.png", "--out", out) == (0, "")
    assert out.read_text(encoding="utf-8").count("<img ") == 4
    code, message = saesplade("report", tmp_path, "--out", tmp_path / "other.html")
    assert (code, len(message.splitlines())) == (2, 1)
    assert str(tmp_path) in message
    assert "results.json" in message


def test_errors_are_one_line(comparison: tuple[Path, Path], tmp_path: Path) -> None:
    folder, _ = comparison
    out = tmp_path / "out.png"
    rows = json.loads((folder / "results.json").read_text())
    suite = {"suite": "s", "sets": {"x": {"measures": ["RR@10"], "rows": rows}}, "mean": rows}
    (tmp_path / "suite.json").write_text(json.dumps(suite))
    of_set = [f"{tmp_path} ", str(tmp_path / "x")]  # the suite, and the folder of its set
    for arguments, facts in [
        (["tradeoff", folder, "--out", tmp_path / "out.gif"], ["out.gif", ".png", ".pdf", ".svg"]),
        (["tradeoff", folder, "--measure", "P@5", "--out", out], ["P@5", "nDCG@10", "RR@10"]),
        (["differences", folder, "--system", "sae", "--out", out], ["'sae'", "bm25", "saesplade"]),
        (["differences", tmp_path, "--out", out], of_set),
        (["precision-recall", tmp_path, "--collection", "docstrings", "--out", out], of_set),
        (["postings", tmp_path / "nowhere", "--out", out], [str(tmp_path / "nowhere")]),
        (["training", tmp_path, "--out", out], [str(tmp_path), "training.json"]),
        (["tradeof", folder], ["'tradeof'", "'tradeoff'"]),
    ]:
        code, said = saesplade("plot", *arguments)
        assert code == 2
        assert all(fact in said for fact in facts), said
        assert len(said.splitlines()) == 1
    assert not out.exists()
