"""Files and folders are written under a temporary name and then renamed."""

import errno
import os
from pathlib import Path

import pytest

from pyterrier_saesplade.errors import PathExistsError
from pyterrier_saesplade.files import atomic_write, replacing, require_new, scratch_beside


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    """The path does not exist while the file is written. Afterwards nothing else is left."""
    path = tmp_path / "new" / "file"
    with atomic_write(path) as partial:
        partial.write_text("first")
        assert not path.exists()
        assert partial.parent == path.parent
    assert path.read_text() == "first"
    with atomic_write(path) as partial:
        partial.write_text("second")
        assert path.read_text() == "first"
    assert path.read_text() == "second"
    assert os.listdir(path.parent) == ["file"]


@pytest.mark.parametrize("kind", ["file", "folder", "nothing"])
def test_a_failed_write_leaves_nothing(tmp_path: Path, kind: str) -> None:
    """Nor does an interrupted one."""

    def interrupted() -> None:
        with atomic_write(tmp_path / "it") as partial:
            if kind == "folder":
                (partial / "inner").mkdir(parents=True)
            elif kind == "file":
                partial.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert os.listdir(tmp_path) == []


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    """A folder that another process has created in the meantime stays."""
    path = tmp_path / "folder"

    def overtaken() -> None:
        with atomic_write(path) as partial:
            partial.mkdir()
            path.mkdir()
            (path / "theirs").touch()

    with pytest.raises(OSError, match=str(path)) as error:
        overtaken()
    assert error.value.errno == errno.ENOTEMPTY
    assert os.listdir(path) == ["theirs"]
    assert os.listdir(tmp_path) == ["folder"]


def test_temporary_paths_are_removed(tmp_path: Path) -> None:
    """Two writers of one path have two temporary paths."""
    with scratch_beside(tmp_path / "it") as one, scratch_beside(tmp_path / "it") as other:
        assert one != other
        one.mkdir()
        other.touch()
    assert os.listdir(tmp_path) == []


def test_a_failed_output_leaves_the_old_one(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("old")

    def write(path: Path) -> None:
        with replacing(path, lambda: None) as made:
            made.write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(out)
    assert out.read_text() == "old"
    assert os.listdir(tmp_path) == ["out"]


def test_an_output_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def write() -> None:
        with replacing(out, lambda: require_new(out)) as made:
            made.write_text("new")
            out.write_text("of another process")

    with pytest.raises(PathExistsError, match="out"):
        write()
    assert out.read_text() == "of another process"
    assert os.listdir(tmp_path) == ["out"]


def test_a_folder_is_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").touch()
    with replacing(out, lambda: None) as made:
        made.mkdir()
        (made / "new").touch()
    assert os.listdir(out) == ["new"]
    assert os.listdir(tmp_path) == ["out"]
