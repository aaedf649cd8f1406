"""Runs each notebook from start to end, in a separate folder and without the network.

``python -m pytest tests_notebooks --write`` writes the outputs into the notebooks.
"""

import base64
import io
import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

REPOSITORY = Path(__file__).parents[1]
NOTEBOOKS = sorted((REPOSITORY / "examples").glob("*.ipynb"))
#: A folder of collections; if it is set, a notebook also runs on its collection ``cranfield``, which has graded qrels.
DATA = os.environ.get("SAESPLADE_DATA")

#: Maximum number of seconds per cell.
TIMEOUT = 600


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    notebook = nbformat.read(path, as_version=4)
    metadata = notebook.metadata.copy()
    run(notebook, tmp_path, monkeypatch)
    if request.config.getoption("--write"):
        notebook.metadata = metadata  # without the version of Python that nbclient adds
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
                for figure in (output.data for output in cell.outputs if "image/png" in output.get("data", {})):
                    figure["image/png"] = smaller(figure["image/png"])
        nbformat.write(notebook, path)


if DATA is not None:

    def test_another_collection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        notebook = nbformat.read(REPOSITORY / "examples" / "quickstart.ipynb", as_version=4)
        other = str(Path(DATA) / "cranfield")
        for cell in notebook.cells:
            cell.source = cell.source.replace('open_collection("docstrings")', f"open_collection({other!r})")
        run(notebook, tmp_path, monkeypatch)


def run(notebook: NotebookNode, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TMPDIR", str(folder))
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=TIMEOUT, coalesce_streams=True, record_timing=False, resources=resources)
    client.execute()


def smaller(figure: str) -> str:
    """Returns a PNG in base64, reduced to 64 colours: it looks the same and has a third of the bytes."""
    image = Image.open(io.BytesIO(base64.b64decode(figure))).convert("RGB")
    written = io.BytesIO()
    image.quantize(64, dither=Image.Dither.NONE).save(written, "PNG", optimize=True)
    return base64.b64encode(written.getvalue()).decode()
