"""Systems by name: the grammar of names, the declared kinds, and custom pipelines."""

import os
import re
import sys
from functools import partial
from importlib import import_module
from pathlib import Path

import pandas as pd
import pyterrier as pt
import pytest

from pyterrier_saesplade.cli import app
from pyterrier_saesplade.collections import Collection
from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.evaluation import CustomSystem, evaluate, make_system, mine_collection, read_comparison
from pyterrier_saesplade.evaluation.systems import describe_systems, make_systems, systems_table
from pyterrier_saesplade.evaluation.systems.registry import kinds
from pyterrier_saesplade.saesplade import SaeSplade

OWN = '''
import pandas as pd
import pyterrier as pt

def tf_idf(collection, folder):
    """Words by TF-IDF, in an index that the function builds."""
    index = pt.terrier.TerrierIndex(str(folder))
    if not folder.exists():
        print("own index built")
        index.indexer(meta={"docno": 200}).index(collection.get_corpus_iter())
    return pt.rewrite.tokenise() >> index.tf_idf()

def first_documents(collection):
    """Returns the same documents for every query, in the same order."""
    docnos = [document["docno"] for document in collection.get_corpus_iter()][:5]
    found = pd.DataFrame({"docno": docnos, "score": [5.0, 4.0, 3.0, 2.0, 1.0]})
    return pt.apply.generic(lambda queries: queries[["qid", "query"]].merge(found, how="cross"))

nothing = pt.Transformer.identity()
number = 3
'''


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module in the current folder."""
    name = f"own_{os.urandom(4).hex()}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    yield name
    sys.modules.pop(name, None)


@pytest.mark.slow
def test_a_custom_pipeline_is_a_row_like_any_other(
    small_collection: Collection,
    untrained_model: Path,
    own_module: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The command reports its measures, costs and times, and writes its run. Its index is built once and kept."""
    command = ["evaluate", "--collection", small_collection.source, "--model", str(untrained_model)]
    command += ["--baseline", "bm25", "--baseline", f"{own_module}:tf_idf", "--out", str(tmp_path / "out")]
    command += ["--baseline", f"{own_module}:first_documents", "--measure", "nDCG@10", "--measure", "R@1000"]
    assert app(command, standalone_mode=False) is None
    printed = capsys.readouterr().out
    assert printed.count("own index built") == 1
    results = read_comparison(tmp_path / "out")
    table = results.table.set_index("name")
    assert table.index.tolist() == ["bm25", "tf_idf", "first_documents", "saesplade"]
    assert table["nDCG@10"]["tf_idf"] > table["nDCG@10"]["first_documents"]
    assert table["R@1000"]["tf_idf"] == pytest.approx(table["R@1000"]["bm25"], abs=0.05)
    assert table.loc["tf_idf", ["index_mb", "build_seconds", "mrt"]].gt(0).all()
    assert table.loc["first_documents", ["index_mb", "build_seconds", "qd_flops"]].isna().all()
    run = pt.io.read_results(str(tmp_path / "out" / "runs" / "first_documents.trec.gz"))
    assert run.groupby("qid")["rank"].apply(list).map(lambda ranks: ranks == [0, 1, 2, 3, 4]).all()
    assert len(results.values("nDCG@10", "tf_idf")) == small_collection.qrels()["qid"].nunique()

    assert app([*command, "--overwrite"], standalone_mode=False) is None
    assert "own index built" not in capsys.readouterr().out  # opened, not built again
    pd.testing.assert_series_equal(read_comparison(tmp_path / "out").table["nDCG@10"], results.table["nDCG@10"])

    sys.modules.pop(own_module)
    Path(f"{own_module}.py").write_text(OWN + "\n# changed\n")
    assert app([*command, "--overwrite"], standalone_mode=False) is None
    assert "own index built" in capsys.readouterr().out  # changed code may build another index


@pytest.mark.slow
def test_an_interrupted_index_of_a_custom_pipeline_is_built_again(
    small_collection: Collection, untrained_model: Path, tmp_path: Path
) -> None:
    calls: list[bool] = []

    def pipeline(collection: Collection, folder: Path) -> pt.Transformer:
        calls.append(folder.exists())
        folder.mkdir()
        if len(calls) == 1:
            raise KeyboardInterrupt
        docno = next(iter(collection.get_corpus_iter()))["docno"]
        return pt.apply.generic(lambda queries: queries[["qid", "query"]].assign(docno=docno, score=1.0))

    own = CustomSystem("own", pipeline, identity="first")
    with pytest.raises(KeyboardInterrupt):
        evaluate(small_collection, untrained_model, tmp_path, baselines=[own], measures=["nDCG@10"])
    evaluate(small_collection, untrained_model, tmp_path, baselines=[own], measures=["nDCG@10"])
    assert calls == [False, False]


@pytest.mark.slow
def test_a_custom_pipeline_does_not_find_the_query_itself(
    small_collection: Collection, untrained_model: Path, tmp_path: Path
) -> None:
    topics = small_collection.topics()
    itself = pt.apply.generic(lambda queries: queries.assign(docno=queries["qid"], score=1.0))
    other = pt.apply.generic(lambda queries: queries.assign(docno=topics["qid"][0], score=0.5))
    both = CustomSystem("both", itself + other)
    evaluate(
        small_collection, untrained_model, tmp_path, baselines=[both], measures=["nDCG@10"], ignore_identical_ids=True
    )
    run = pt.io.read_results(str(tmp_path / "runs" / "both.trec.gz"))
    assert (run["qid"] != run["docno"]).all()


def test_invalid_names(own_module: str) -> None:
    """The error names the part of the name that is wrong, or what is missing."""
    for name, fact in [
        ("bm42", "'bm42'"),
        ("bm25+bm42", "'bm25+bm42'"),
        ("splade", "splade=CHECKPOINT"),
        ("bm25=x", "'bm25=x'"),
        ("rrf,k=1", "'k=1'"),
        ("saesplade,z=5", "'z=5'"),
        ("late-interaction=x,depth=many", "'many'"),
        ("saesplade,k=0", "'0'"),
        ("saesplade,k=2024-13-01", "'2024-13-01'"),
        ("saesplade", "saesplade=FOLDER"),
        ("dense", "dense=NAME"),
        ("no_such_module:pipeline", "no_such_module"),
        (f"{own_module}:absent", "absent"),
        (f"{own_module}:number", "int"),
    ]:
        with pytest.raises(SettingError, match=re.escape(fact)):
            make_system(name)


def test_a_plus_fuses_systems_only_between_names(minilm_path: Path, own_module: str, tmp_path: Path) -> None:
    """A + in the name of a folder or of a kind is a part of that name."""
    folder = tmp_path / "a+b"
    folder.symlink_to(minilm_path)
    assert make_system(f"dense={folder}").name == "dense-a+b"
    fused = make_system(f"bm25+dense={folder},doc_max_length=64+{own_module}:nothing")
    assert fused.name == "bm25+dense-a+b-doc64+nothing"
    assert make_system("bm25+bm25").name == "bm25+bm25"


def test_every_kind_is_declared_once_and_described(untrained_model: Path) -> None:
    """The help and the documentation are made from the declarations."""
    help_text, table = describe_systems(), systems_table()
    for kind in kinds().values():
        assert kind.help
        assert kind.help[-1] != "."
        assert f"{kind.usage}: " in help_text
        assert f"``{kind.usage}``" in table
        assert all(f"``{option}``" in table for option in kind.options)
    page = Path(__file__).parents[3] / "pyterrier_saesplade" / "pt_docs" / "comparing.rst"
    assert table in page.read_text(), f"the table of systems in {page.name} is out of date; it should be:\n{table}"
    own, _ = make_systems(["saesplade,k=5"], SaeSplade.from_pretrained(untrained_model))
    assert own.name == "saesplade-k5"


@pytest.mark.parametrize("name", ["my words", "my/words", ""])
def test_the_name_of_a_row_is_checked_before_any_work(untrained_model: Path, name: str) -> None:
    """It becomes the name of a run file, and the last column of that file."""
    own = CustomSystem(name, pt.Transformer.identity())
    with pytest.raises(SettingError, match=repr(name)):
        make_systems([own], SaeSplade.from_pretrained(untrained_model))


def test_only_a_second_positional_argument_is_a_folder() -> None:
    def with_folder(collection: Collection, folder: Path) -> pt.Transformer:
        return pt.Transformer.identity()

    def with_setting(collection: Collection, *, depth: int = 10) -> pt.Transformer:
        return pt.Transformer.identity()

    assert len(CustomSystem("own", with_folder).searched) == 1
    assert CustomSystem("own", with_setting).searched == ()
    assert CustomSystem("own", partial(with_folder, folder=Path("fixed"))).searched == ()


def test_a_changed_function_is_another_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new function may have the address of the old one, so its source counts too."""
    monkeypatch.syspath_prepend(tmp_path)
    identities = set()
    for number in (1, 2):
        name = f"changed_{number}_{os.urandom(4).hex()}"
        (tmp_path / f"{name}.py").write_text(f"def same(collection, folder):\n    return {number}\n")
        function = import_module(name).same
        address = re.compile(r"0x\w+")
        identities |= {address.sub("", setting) for setting in CustomSystem("own", function).settings}
    assert len(identities) == 2


def test_a_teacher_that_cannot_score_is_found_before_indexing(
    small_collection: Collection, untrained_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingError, match="feedback"):
        mine_collection(small_collection, "bm25", f"feedback={untrained_model}", tmp_path / "mined.jsonl")
    assert list(tmp_path.iterdir()) == []
