"""Run files: their format and exact scores; nothing is half-written or overwritten."""

import gzip
from pathlib import Path

import pandas as pd
import pyterrier as pt
import pytest

from pyterrier_saesplade.errors import DataError, PathExistsError
from pyterrier_saesplade.evaluation import write_run

RUN = pd.DataFrame(
    {"qid": ["q1", "q1", "q2"], "docno": ["d9", "d1", "ü/3"], "score": [2.5, 1 / 3, -7.0], "rank": [0, 1, 0]}
)


@pytest.mark.parametrize("name", ["run.trec", "deep/folder/run.trec.gz"])
def test_a_run_is_written_and_read_back(tmp_path: Path, name: str) -> None:
    """PyTerrier reads exactly what was written, compressed or not. Parent folders are created."""
    path = write_run(RUN, tmp_path / name, tag="mine")
    text = gzip.decompress(path.read_bytes()).decode() if name.endswith("gz") else path.read_text(encoding="utf-8")
    assert text.splitlines() == ["q1 Q0 d9 0 2.5 mine", "q1 Q0 d1 1 0.3333333333333333 mine", "q2 Q0 ü/3 0 -7.0 mine"]
    pd.testing.assert_frame_equal(pt.io.read_results(str(path))[RUN.columns], RUN, check_dtype=False)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(("column", "value"), [("docno", "d 1"), ("docno", "d\u00a01"), ("qid", "q\t1"), ("qid", "")])
def test_blanks_are_refused(tmp_path: Path, column: str, value: str) -> None:
    """A blank would shift the columns of the file. The error names the column and the value, and no file is written."""
    with pytest.raises(DataError, match=column) as error:
        write_run(RUN.assign(**{column: [value, "x", "y"]}), tmp_path / "run.trec", tag="mine")
    assert repr(value) in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_run_is_not_overwritten(tmp_path: Path) -> None:
    """An existing file is not changed, unless ``overwrite`` is set."""
    path = write_run(RUN, tmp_path / "run.trec", tag="first")
    with pytest.raises(PathExistsError, match=r"run\.trec"):
        write_run(RUN, path, tag="second")
    assert path.read_text(encoding="utf-8").split()[5] == "first"
    write_run(RUN, path, tag="second", overwrite=True)
    assert path.read_text(encoding="utf-8").split()[5] == "second"


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    """An error in the middle of writing leaves the old file, and no other file."""
    path = write_run(RUN, tmp_path / "run.trec", tag="first")
    before = path.read_bytes()
    with pytest.raises(ValueError, match="could not convert string to float"):
        write_run(RUN.assign(score=[1.0, "?", 2.0]), path, tag="second", overwrite=True)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["run.trec"]
