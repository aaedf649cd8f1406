"""Significance: the same numbers as scipy, statsmodels and ``pt.Experiment``, and results that cannot be compared."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
from ir_measures import RR, nDCG
from scipy import stats
from typer.testing import CliRunner

from pyterrier_saesplade.cli import app
from pyterrier_saesplade.collections import Collection, open_collection, write_collection
from pyterrier_saesplade.errors import DataError, SettingError
from pyterrier_saesplade.evaluation import (
    by_query_length,
    compare,
    comparisons,
    evaluate,
    randomisation_test,
    wins_and_losses,
)

RNG = np.random.default_rng(7)
QIDS = [f"q{i}" for i in range(20)]


@pytest.fixture(scope="module")
def runs() -> tuple[list[pd.DataFrame], pd.DataFrame, pd.DataFrame]:
    """Three runs over twenty queries. The second is better than the first; the third is about as good."""
    topics = pd.DataFrame({"qid": QIDS, "query": ["word " * (1 + i % 12) for i in range(20)]})
    qrels = pd.DataFrame([(qid, f"d{i}", 1) for qid in QIDS for i in range(3)], columns=["qid", "docno", "label"])
    frames = []
    for gain in (0.0, 1.5, 0.1):
        scores = RNG.normal(size=(20, 30))
        scores[:, :3] += gain
        rows = [(qid, f"d{j}", scores[i, j]) for i, qid in enumerate(QIDS) for j in range(30)]
        frame = pd.DataFrame(rows, columns=["qid", "docno", "score"]).merge(topics, on="qid")
        frames.append(pt.model.add_ranks(frame))
    return frames, topics, qrels


def of_values(**values: list[float]) -> pd.DataFrame:
    """Returns values of RR per query, by system."""
    rows = [(name, str(qid), "RR", value) for name, all_of in values.items() for qid, value in enumerate(all_of)]
    return pd.DataFrame(rows, columns=["name", "qid", "measure", "value"])


def test_p_values_are_those_of_pt_experiment(
    runs: tuple[list[pd.DataFrame], pd.DataFrame, pd.DataFrame],
) -> None:
    frames, topics, qrels = runs
    arguments = dict(zip(["a", "b", "c"], frames, strict=True)), topics, qrels, [nDCG @ 10, RR]
    perquery = pt.Experiment(*arguments, perquery=True)
    for test, correction in (("t", "holm"), ("wilcoxon", "bonferroni"), (randomisation_test, "fdr_bh"), ("t", None)):
        table = pt.Experiment(*arguments, baseline="a", test=test, correction=correction).set_index("name")
        mine = compare(perquery, "a", test=test, correction=correction)
        assert len(mine) == 4
        for row in mine.itertuples():
            assert row.mean == pytest.approx(table.loc[row.name, row.measure])
            # The random permutations depend on the order of the queries.
            bound = 0.02 if test is randomisation_test else 1e-9
            assert row.p == pytest.approx(table.loc[row.name, f"{row.measure} p-value"], abs=bound)
            assert (row.wins, row.losses) == (
                table.loc[row.name, f"{row.measure} +"],
                table.loc[row.name, f"{row.measure} -"],
            )
            if correction:
                assert row.p_corrected == pytest.approx(
                    table.loc[row.name, f"{row.measure} p-value corrected"], abs=2 * bound
                )
                assert row.significant == table.loc[row.name, f"{row.measure} reject"]
            else:
                assert row.p_corrected == row.p


def test_effects_and_intervals(runs: tuple[list[pd.DataFrame], pd.DataFrame, pd.DataFrame]) -> None:
    frames, topics, qrels = runs
    perquery = pt.Experiment(dict(zip("ab", frames[:2], strict=True)), topics, qrels, [RR], perquery=True)
    values = perquery.pivot(index="qid", columns="name", values="value")
    differences = values["b"] - values["a"]
    row = compare(perquery, "a", alpha=0.1).iloc[0]
    interval = stats.ttest_rel(values["b"], values["a"]).confidence_interval(0.9)
    assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
    assert row["effect"] == pytest.approx(differences.mean() / differences.std())
    assert row["wins"] + row["ties"] + row["losses"] == row["queries"] == 20


def test_randomisation_agrees_with_student_on_normal_values_and_is_repeatable() -> None:
    ours = RNG.normal(0.3, 1, 200)
    theirs = RNG.normal(0.0, 1, 200)
    assert randomisation_test(ours, theirs)[1] == pytest.approx(stats.ttest_rel(ours, theirs).pvalue, abs=0.01)
    assert randomisation_test(ours, theirs) == randomisation_test(ours, theirs)


def test_wins_and_losses_have_the_text_of_queries(
    runs: tuple[list[pd.DataFrame], pd.DataFrame, pd.DataFrame],
) -> None:
    frames, topics, qrels = runs
    perquery = pt.Experiment(dict(zip("ab", frames[:2], strict=True)), topics, qrels, [RR], perquery=True)
    table = wins_and_losses(perquery, topics, "b", "a", "RR")
    assert table.columns.tolist() == ["qid", "query", "b", "a", "difference"]
    assert table["difference"].is_monotonic_decreasing
    assert table["query"].tolist() == topics.set_index("qid").loc[table["qid"], "query"].tolist()
    with pytest.raises(SettingError, match=r"'c'.*\ba, b\b"):
        wins_and_losses(perquery, topics, "c", "a", "RR")


def test_short_and_long_queries(runs: tuple[list[pd.DataFrame], pd.DataFrame, pd.DataFrame]) -> None:
    frames, topics, qrels = runs
    perquery = pt.Experiment({"a": frames[0]}, topics, qrels, [RR], perquery=True)
    table = by_query_length(perquery, topics)
    columns = ["1-3 words (6)", "4-6 words (6)", "7-10 words (6)", "more than 10 words (2)"]
    assert table.columns.tolist() == ["measure", "name", *columns]
    long = perquery[perquery["qid"].isin(["q10", "q11"])]["value"].mean()
    assert table[columns[3]].item() == pytest.approx(long)


@pytest.mark.parametrize("kind", [int, str])
def test_qids_may_be_numbers(kind: type) -> None:
    """Qids may be numbers or strings in either frame, and a query may have no text."""
    perquery = of_values(a=[0.1, 0.2, 0.3], b=[0.2, 0.5, 0.3])
    perquery["qid"] = perquery["qid"].astype(kind)
    topics = pd.DataFrame({"qid": [0, 1, 2, 3], "query": ["one two three four", None, "one", "never run"]})
    for given in (topics, topics.astype({"qid": str})):
        queries = wins_and_losses(perquery, given, "b", "a", "RR")
        assert queries["qid"].astype(str).tolist() == ["1", "0", "2"]
        assert queries["query"].tolist() == ["", "one two three four", "one"]
        lengths = by_query_length(perquery, given)
        assert lengths.columns.tolist() == ["measure", "name", "1-3 words (2)", "4-6 words (1)"]
        assert lengths["1-3 words (2)"].tolist() == pytest.approx([0.25, 0.4])


def test_topics_of_other_queries() -> None:
    perquery = of_values(a=[0.1, 0.2], b=[0.2, 0.5])
    topics = pd.DataFrame({"qid": ["0", "x"], "query": ["one", "two"]})
    with pytest.raises(DataError, match="'1'"):
        by_query_length(perquery, topics)
    with pytest.raises(DataError, match="'1'"):
        wins_and_losses(perquery, topics, "b", "a", "RR")
    with pytest.raises(SettingError, match="'a'"):
        wins_and_losses(perquery, topics, "a", "a", "RR")


def test_values_and_settings_that_cannot_be_compared() -> None:
    perquery = pd.DataFrame(
        {"name": ["a", "a", "b"], "qid": ["1", "2", "1"], "measure": "RR", "value": [0.1, 0.2, 0.3]}
    )
    with pytest.raises(DataError, match=r"\bb\b.*\bRR\b.*\b2\b"):
        compare(perquery, "a")
    for options, fact in (
        ({"baseline": "c"}, r"'c'.*\ba, b\b"),
        ({"baseline": "a", "test": "u"}, "'u'"),
        ({"baseline": "a", "alpha": 5}, r"alpha.*\b5\b"),
        ({"baseline": "a", "correction": "prayer"}, "'prayer'"),
    ):
        with pytest.raises(SettingError, match=fact):
            compare(perquery[perquery["qid"] == "1"].assign(value=[0.1, 0.1]), **options)


def test_systems_without_any_difference() -> None:
    """Student's test would divide by zero, and Wilcoxon's test would have no query left."""
    perquery = pd.DataFrame({"name": [*"aabb"], "qid": [*"1212"], "measure": "RR", "value": [0.1, 0.2] * 2})
    for test in ("t", "wilcoxon", "randomisation"):
        row = compare(perquery, "a", test=test).iloc[0]
        assert (row["p"], row["effect"], row["significant"]) == (1.0, 0.0, False)


@pytest.mark.parametrize("test", ["t", "wilcoxon", "randomisation", stats.ttest_rel])
def test_one_query_is_not_enough_for_a_test(test: object) -> None:
    for theirs in (0.1, 0.3):
        row = compare(of_values(a=[0.1], b=[theirs]), "a", test=test).iloc[0]
        assert row[["low", "high", "effect", "p", "p_corrected"]].isna().all()
        assert row["difference"] == pytest.approx(theirs - 0.1)
        assert not row["significant"]


def test_queries_that_all_gain_the_same() -> None:
    """Each gains 0.1, up to rounding: Student's test has no p-value then, and the other p-values do not change."""
    a = [0.1, 0.2, 0.3, 0.7]
    same = [value + 0.1 for value in a]
    assert np.std(np.array(same) - a) > 0
    perquery = of_values(a=a, same=same, less=[value - 0.1 for value in a], other=[0.3, 0.2, 0.6, 0.9])
    for correction in ("holm", "fdr_bh"):
        table = compare(perquery, "a", correction=correction).set_index("name")
        assert table["effect"][["same", "less"]].tolist() == [np.inf, -np.inf]
        assert table.loc["same", ["low", "high"]].tolist() == pytest.approx([0.1, 0.1])
        assert table.loc[["same", "less"], ["p", "p_corrected"]].isna().all(axis=None)
        assert table["significant"].tolist() == [False] * 3
        assert table.loc["other", "p_corrected"] == pytest.approx(3 * table.loc["other", "p"])
    # Two of the sixteen ways to flip four signs are as extreme.
    for test in ("wilcoxon", "randomisation"):
        assert compare(perquery, "a", test=test).set_index("name").loc["same", "p"] == 2 / 16


def test_the_correction_none() -> None:
    perquery = of_values(a=[0.1, 0.2, 0.3], b=[0.2, 0.4, 0.3], c=[0.3, 0.1, 0.9])
    pd.testing.assert_frame_equal(compare(perquery, "a", correction="none"), compare(perquery, "a", correction=None))


def test_a_value_that_no_system_has() -> None:
    with pytest.raises(DataError, match=r"\ba\b.*\bRR\b.*\b1\b"):
        compare(of_values(a=[0.1, np.nan], b=[0.1, np.nan]), "a")


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """Results of two sets with the same qids. The second set is evaluated on a further query set."""
    documents = [{"docno": "d", "text": "text"}]
    qrels = pd.DataFrame([["0", "d", 1]], columns=["qid", "docno", "label"])
    made: dict[str, dict[str, object]] = {"sets": {}}
    for name in ("cacm", "cisi"):
        topics = pd.DataFrame({"qid": ["0", "1"], "query": [f"first of {name}", f"second of {name}"]})
        write_collection(tmp_path / name, documents, topics, qrels)
        write_collection(tmp_path / name / "test", documents, topics.assign(query=topics["query"] + " test"), qrels)
        of_set = tmp_path / "out" / name
        of_set.mkdir(parents=True)
        of_values(bm25=[0.1, 0.2], ours=[0.3, 0.1]).to_csv(of_set / "perquery.csv", index=False)
        settings = {"query_set": "test" if name == "cisi" else None}
        about = {"source": str(tmp_path / name), "settings": settings}
        (of_set / "about.json").write_text(json.dumps(about))
        rows = [{"name": "bm25", "RR": 0.15}, {"name": "ours", "RR": 0.2}]
        (of_set / "results.json").write_text(json.dumps(rows))
        made["sets"][name] = {"title": name, "measures": ["RR"], "rows": rows}
    (tmp_path / "out" / "suite.json").write_text(json.dumps({"suite": "both", "mean": [], **made}))
    return tmp_path / "out"


def test_each_set_of_a_suite_has_its_own_queries(suite: Path) -> None:
    tables = list(comparisons(suite, own_topics=True))
    assert len(tables) == 6
    for table in tables[:3]:
        assert "cisi" not in table
    assert "first of cacm " in tables[2]
    assert "first of cisi test " in tables[5]


def test_topics_of_one_set_are_not_those_of_others(suite: Path) -> None:
    topics = open_collection(suite.parent / "cacm").topics()
    with pytest.raises(SettingError, match=re.escape(str(suite))):
        list(comparisons(suite, topics=topics))
    assert "first of cacm " in list(comparisons(suite / "cacm", topics=topics))[2]


def test_results_that_do_not_record_their_collection(suite: Path) -> None:
    (suite / "cacm" / "about.json").unlink()
    with pytest.raises(DataError, match=re.escape(str(suite / "cacm"))):
        list(comparisons(suite / "cacm", own_topics=True))
    shutil.rmtree(suite.parent / "cisi")
    with pytest.raises(SettingError, match=re.escape(repr(str(suite.parent / "cisi")))):
        list(comparisons(suite / "cisi", own_topics=True))


@pytest.mark.slow
def test_the_command_compares_what_evaluate_wrote(
    small_collection: Collection, untrained_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    evaluate(small_collection, untrained_model, out, baselines=["bm25"], measures=["nDCG@10", "AP"])
    perquery = pd.read_csv(out / "perquery.csv", dtype={"qid": str})
    expected = compare(perquery, "bm25", test="wilcoxon", correction=None)
    arguments = ["compare", str(out), "--test", "wilcoxon", "--correction", "none"]
    folder = str(small_collection.folder)
    result = CliRunner().invoke(app, [*arguments, "--collection", folder], catch_exceptions=False)
    assert result.exit_code == 0
    assert f"{expected['difference'][0]:.3f}" in result.stdout
    assert f"{expected['p'][0]:.4f}" in result.stdout
    assert "by query length" in result.stdout
    query = small_collection.topics()["query"][0]
    assert query in result.stdout
    assert CliRunner().invoke(app, [*arguments, "--queries"], catch_exceptions=False).stdout == result.stdout
    for more, facts in (
        (["--queries", "--collection", folder], ("--collection", "--queries")),
        (["--query-set", "train"], ("--query-set", "--collection")),
    ):
        assert_mistake([*arguments, *more], *facts)
    alone = CliRunner().invoke(app, [*arguments, "--measure", "AP"], catch_exceptions=False).stdout
    assert "nDCG@10" not in alone
    assert_mistake([*arguments, "--measure", "RR"], " RR", "nDCG@10, AP")
    (out / "perquery.csv").unlink()
    assert_mistake(arguments, str(out), "perquery.csv")


def assert_mistake(arguments: list[str], *facts: str) -> None:
    """The command fails with exit code 2 and one line that names the facts."""
    failed = CliRunner().invoke(app, arguments)
    assert failed.exit_code == 2
    (line,) = failed.stderr.splitlines()
    assert all(fact in line for fact in facts), line
