"""Checks the committed notebooks: all cells ran in order, and the outputs do not depend on the machine."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[1]
NOTEBOOKS = sorted((REPOSITORY / "examples").glob("*.ipynb"))

#: Maximum number of bytes of an image in base64, and of a notebook.
IMAGE, NOTEBOOK = 60_000, 300_000


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> dict[str, Any]:
    return dict(json.loads(request.param.read_text("utf-8")))


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def outputs(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [output for cell in code_cells(notebook) for output in cell["outputs"]]


def test_the_readme_lists_the_notebooks() -> None:
    listed = re.findall(r"\(examples/(\w+\.ipynb)\)", (REPOSITORY / "README.md").read_text("utf-8"))
    assert sorted(listed) == [path.name for path in NOTEBOOKS]


def test_cells_were_run_in_order(notebook: dict[str, Any]) -> None:
    counts = [cell["execution_count"] for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))


def test_outputs_are_results(notebook: dict[str, Any]) -> None:
    """The outputs contain no errors, no warnings of libraries, and no folders of the machine."""
    found = outputs(notebook)
    assert len(found) >= 5
    assert {output["output_type"] for output in found} <= {"display_data", "execute_result", "stream"}
    assert "stderr" not in {output.get("name") for output in found}
    shown = [
        {name: value for name, value in output.get("data", output).items() if name != "image/png"} for output in found
    ]
    assert not re.search(r"(?<!\w)/(tmp|home|root|work|usr)/|site-packages|Warning", json.dumps(shown))


def test_outputs_are_small(notebook: dict[str, Any]) -> None:
    images = [
        len("".join(output["data"]["image/png"]))
        for output in outputs(notebook)
        if "image/png" in output.get("data", {})
    ]
    assert max(images, default=0) <= IMAGE
    assert len(json.dumps(notebook)) <= NOTEBOOK


def test_form(notebook: dict[str, Any]) -> None:
    """The first cell says what the notebook is and how long it takes. The second one is for Colab."""
    first, second, *_ = notebook["cells"]
    assert first["cell_type"] == "markdown"
    assert first["source"][0].startswith("# ")
    assert re.search(r"It takes about \w+ minutes? on two CPU cores", "".join(first["source"]))
    assert "google.colab" in "".join(second["source"])
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    assert notebook["metadata"] == {"kernelspec": kernel, "language_info": {"name": "python"}}
    assert {key for cell in notebook["cells"] for key in cell["metadata"]} == set()
