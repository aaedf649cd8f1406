"""Significance tests of differences between systems, and comparisons by query. Does not import PyTerrier."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from pyterrier_saesplade.errors import DataError, SettingError
from pyterrier_saesplade.evaluation.results import gains, read_results

if TYPE_CHECKING:
    import os

Values = NDArray[np.float64]
#: A paired test of the values of two systems, like ``scipy.stats.ttest_rel``. Its second result is the p-value.
Test = Callable[[Values, Values], Any]

#: Number of permutations in the randomisation test. If there are no more than this many, it uses all of them.
_PERMUTATIONS = 9_999
#: A standard deviation below this share of the largest difference is a rounding error: all differences are equal.
_ROUNDING = 1e-12
#: Number of queries to show that were won by most, and lost by most.
_ENDS = 5
#: Number of permuted values to keep in memory at once.
_BATCH = 2_000_000


def randomisation_test(ours: Values, theirs: Values) -> tuple[float, float]:
    """Tests paired values by flipping the signs of their differences at random, with a fixed seed.

    It is also a test for ``pt.Experiment(…, test=randomisation_test)``.

    Returns:
        The mean difference, and the p-value: the share of permutations with a mean at least as far from 0 (two-sided).

    Examples:
        >>> import numpy as np
        >>> _, p = randomisation_test(np.array([.5, .6, .7]), np.array([.4, .5, .6]))
        >>> p  # two of the eight ways to flip three signs give a mean as extreme
        0.25

    References:
        Smucker, Allan and Carterette, A Comparison of Statistical Significance Tests for IR Evaluation, CIKM 2007.
    """
    differences = np.asarray(ours) - np.asarray(theirs)
    result = stats.permutation_test(
        (differences,),
        lambda flipped, axis: np.abs(np.mean(flipped, axis=axis)),
        permutation_type="samples",
        alternative="greater",
        vectorized=True,
        n_resamples=_PERMUTATIONS,
        batch=max(1, _BATCH // max(1, len(differences))),
        rng=np.random.default_rng(0),
    )
    return float(differences.mean()), float(result.pvalue)


def _student(ours: Values, theirs: Values) -> tuple[float, float]:
    """Student's paired t-test; NaN if all differences are equal, because their variance is 0."""
    if _deviation(ours - theirs) == 0:
        return float("nan"), float("nan")
    result = stats.ttest_rel(ours, theirs)
    return float(result.statistic), float(result.pvalue)


_TESTS: dict[str, Test] = {"t": _student, "wilcoxon": stats.wilcoxon, "randomisation": randomisation_test}


def compare(
    perquery: pd.DataFrame,
    baseline: str,
    *,
    test: Literal["t", "wilcoxon", "randomisation"] | Test = "t",
    correction: str | None = "holm",
    alpha: float = 0.05,
) -> pd.DataFrame:
    """Compares systems with a baseline, query by query.

    Args:
        perquery: The result of ``pt.Experiment(…, perquery=True)``, or the ``perquery.csv`` of ``saesplade evaluate``:
            ``name``, ``qid``, ``measure`` and ``value``.
        baseline: The name of the system that the others are compared with.
        test: The paired test: Student's t-test, Wilcoxon's, the randomisation test, or a function as ``pt.Experiment``
            takes it.
        correction: The correction of the p-values of a measure for the number of systems: the name of a method of
            ``multipletests`` in statsmodels. ``None`` or ``"none"`` for no correction, as in the paper.
        alpha: The significance level; confidence intervals have the level ``1 - alpha``.

    Returns:
        A row for each measure and system: ``measure``, ``name``, ``queries`` (their number), ``mean``, ``difference``
        (of the means), ``low`` and ``high`` (its confidence interval by Student's t), ``effect`` (Cohen's d of paired
        values, which is the mean difference divided by its standard deviation), ``wins``, ``ties`` and ``losses``
        (numbers of queries), ``p``, ``p_corrected`` and ``significant``. For a single query, ``low``, ``high``,
        ``effect`` and ``p`` are missing. If all queries have the same gain, ``effect`` is infinite, and Student's test
        has no ``p``.

    Raises:
        SettingError: If the baseline, the test or the correction is unknown, or ``alpha`` is not between 0 and 1.
        DataError: If the systems were not run on the same queries.

    Examples:
        >>> values = {"bm25": [.2, .4, .3, .5], "ours": [.3, .5, .5, .6], "same": [.2, .4, .3, .5]}
        >>> perquery = pd.DataFrame(
        ...     [(name, str(qid), "nDCG@10", value) for name, all in values.items() for qid, value in enumerate(all)],
        ...     columns=["name", "qid", "measure", "value"],
        ... )
        >>> compare(perquery, "bm25")[["name", "difference", "effect", "wins", "p", "p_corrected"]].round(3)
           name  difference  effect  wins      p  p_corrected
        0  ours       0.125     2.5     4  0.015        0.031
        1  same       0.000     0.0     0  1.000        1.000

    References:
        Fuhr, Some Common Mistakes In IR Evaluation, And How They Can Be Avoided, SIGIR Forum 2017.
        Sakai, Statistical Reform in Information Retrieval?, SIGIR Forum 2014.
    """
    if isinstance(test, str) and test not in _TESTS:
        raise SettingError(f"there is no test {test!r}: give one of {', '.join(_TESTS)}, or a function")
    systems = list(dict.fromkeys(perquery["name"]))
    if baseline not in systems:
        raise SettingError(f"there is no system {baseline!r}: give one of {', '.join(systems)}")
    if not 0 < alpha < 1:
        raise SettingError(f"alpha must be between 0 and 1, not {alpha!r}")
    tested = _TESTS[test] if isinstance(test, str) else test
    rows = []
    for measure, values in _by_measure(perquery):
        others = [name for name in values.columns if name != baseline]
        compared = [_row(values[name], values[baseline], tested, alpha) for name in others]
        corrected = _corrected([row["p"] for row in compared], correction, alpha)
        for name, row, p in zip(others, compared, corrected, strict=True):
            rows.append({"measure": measure, "name": name, **row, "p_corrected": p, "significant": p < alpha})
    return pd.DataFrame(rows)


def wins_and_losses(
    perquery: pd.DataFrame, topics: pd.DataFrame, name: str, baseline: str, measure: str
) -> pd.DataFrame:
    """Returns the gain of a system over a baseline on each query, in descending order.

    Args:
        perquery: The values of each query, see :func:`compare`.
        topics: The queries that were run, ``qid`` and ``query``.
        name: The name of the system.
        baseline: The name of the baseline.
        measure: The measure.

    Returns:
        A row for each query: ``qid``, ``query``, the values of the two systems under their names, and ``difference``.

    Raises:
        SettingError: If a system or the measure is unknown, or the two systems are the same.
        DataError: If the systems were not run on the same queries, or a query is missing from the topics.

    Examples:
        >>> topics = pd.DataFrame({"qid": ["1", "2"], "query": ["river bank", "young cat"]})
        >>> perquery = pd.DataFrame(
        ...     {
        ...         "name": ["bm25", "bm25", "ours", "ours"],
        ...         "qid": ["1", "2", "1", "2"],
        ...         "measure": "nDCG@10",
        ...         "value": [0.5, 1.0, 0.75, 0.5],
        ...     }
        ... )
        >>> wins_and_losses(perquery, topics, "ours", "bm25", "nDCG@10")
        name qid       query  ours  bm25  difference
        0      1  river bank  0.75   0.5        0.25
        1      2   young cat  0.50   1.0       -0.50
    """
    for column, wanted in (("name", name), ("name", baseline), ("measure", measure)):
        if wanted not in set(perquery[column]):
            known = ", ".join(dict.fromkeys(perquery[column]))
            raise SettingError(f"there is no {column} {wanted!r}: give one of {known}")
    if name == baseline:
        raise SettingError(f"{name!r} cannot be compared with itself: give two systems")
    ((_, values),) = _by_measure(perquery[(perquery["measure"] == measure) & perquery["name"].isin([name, baseline])])
    gained = gains(values[name], values[baseline])
    frame = values.loc[gained.index, [name, baseline]].assign(difference=gained).reset_index()
    frame.insert(1, "query", _queries(frame["qid"], topics))
    return frame


def by_query_length(
    perquery: pd.DataFrame, topics: pd.DataFrame, longest: tuple[int, ...] = (3, 6, 10)
) -> pd.DataFrame:
    """Returns the means by query length. Hybrids of words and concepts differ between short and long queries.

    Args:
        perquery: The values of each query, see :func:`compare`.
        topics: The queries that were run, ``qid`` and ``query``.
        longest: The maximum number of words in each group of queries except the last, in ascending order.

    Returns:
        A row for each measure and system, and a column for each group that has queries, with the number of these
        queries in its name: ``"1-3 words (12)"``. Queries without words are in the first group.

    Raises:
        DataError: If a query is missing from the topics.

    Examples:
        >>> topics = pd.DataFrame({"qid": ["1", "2"], "query": ["one two", "a query of no less than seven words"]})
        >>> perquery = pd.DataFrame(
        ...     {"name": "bm25", "qid": ["1", "2"], "measure": "RR", "value": [1.0, 0.5]}
        ... )
        >>> by_query_length(perquery, topics)
          measure  name  1-3 words (1)  7-10 words (1)
        0      RR  bm25            1.0             0.5
    """
    qids = perquery["qid"].drop_duplicates()
    words = _queries(qids, topics).map(lambda query: len(query.split())).set_axis(qids)
    edges = [0, *longest]
    labels = [f"{low + 1}-{high} words" for low, high in zip(edges, longest, strict=False)]
    labels.append(f"more than {longest[-1]} words")
    group = pd.cut(words.clip(lower=1), [*edges, np.inf], labels=labels)
    counts = group.value_counts()
    group = group.map(lambda label: f"{label} ({counts[label]})").astype(object)
    order = [f"{label} ({counts[label]})" for label in labels if counts[label]]
    frame = perquery.assign(group=perquery["qid"].map(group))
    table = frame.pivot_table(index=["measure", "name"], columns="group", values="value", sort=False)[order]
    table.columns.name = None
    return table.reset_index()


def comparisons(
    folder: str | os.PathLike[str],
    baseline: str | None = None,
    *,
    measures: Sequence[str] = (),
    topics: pd.DataFrame | None = None,
    own_topics: bool = False,
    **settings: Any,
) -> Iterator[str]:
    """Compares the systems of a comparison, or of each set of a suite, and yields tables as text.

    Args:
        folder: A folder that ``saesplade evaluate`` wrote.
        baseline: The system that the others are compared with; ``None`` for the first one.
        measures: The names of the measures; empty for all.
        topics: The queries of a single comparison. They add two tables: the means by query length, and the queries that
            the last system won and lost by most in the first measure.
        own_topics: Whether to add these two tables with the queries of the collection that was evaluated; for a suite,
            with the queries of each set.
        **settings: Keyword arguments of :func:`compare`.

    Yields:
        The text of each table.

    Raises:
        PathNotFoundError: If there are no results.
        DataError: If the values of the queries are not known, or a query is missing from the topics.
        SettingError: If topics are given for a suite, a measure is unknown, or :func:`compare` raises it.

    Examples:
        >>> for text in comparisons("my-comparison", "bm25"):
        ...     print(text)
        my-collection: 12 documents, 4 judged queries, against bm25
        ...
    """
    read = read_results(folder)
    # The means over a suite have no values of queries. If no results have any, the first ones report it below.
    with_queries = [results for results in read if results.perquery is not None] or read[:1]
    if topics is not None and len(with_queries) > 1:
        # The same qid may be another query in another set.
        raise SettingError(f"{folder} is a suite, but topics belong to one collection: give the folder of a set")
    for results in with_queries:
        perquery = results.require_perquery()
        for measure in measures:
            results.require_measure(measure)
        perquery = perquery[perquery["measure"].isin(measures or results.measures)]
        first = baseline or results.systems[0]
        yield f"{results.title}, against {first}\n\n{_shown(compare(perquery, first, **settings))}"
        queries_of = results.topics() if own_topics else topics
        if queries_of is not None:
            yield f"by query length\n\n{_shown(by_query_length(perquery, queries_of))}"
            ours, official = results.systems[-1], str(perquery["measure"].iloc[0])
            if ours != first:
                queries = wins_and_losses(perquery, queries_of, ours, first, official)
                ends = queries if len(queries) <= 2 * _ENDS else pd.concat([queries.head(_ENDS), queries.tail(_ENDS)])
                yield f"queries that {ours} won and lost by most, {official}\n\n{_shown(ends)}"


def _shown(table: pd.DataFrame) -> str:
    floats = table.select_dtypes("float").columns
    texts = {name: table[name].map(("{:.4f}" if name in ("p", "p_corrected") else "{:.3f}").format) for name in floats}
    return table.assign(**texts).to_string(index=False)


def _queries(qids: pd.Series, topics: pd.DataFrame) -> pd.Series:
    """Returns the text of each query. Qids may be numbers in one frame and strings in the other."""
    queries = topics.set_index(topics["qid"].astype(str))["query"].fillna("")
    strings = qids.astype(str)
    unknown = strings[~strings.isin(queries.index)]
    if not unknown.empty:
        raise DataError(
            f"the query {unknown.iloc[0]!r} has values, but is missing from the topics: give the topics that were run"
        )
    return strings.map(queries)


def _by_measure(perquery: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yields each measure with its values: a row for each query, and a column for each system in the given order."""
    for measure, values in perquery.groupby("measure", sort=False):
        table = values.pivot(index="qid", columns="name", values="value")
        if table.isna().any(axis=None):
            name = next(name for name in table if table[name].isna().any())
            qid = table.index[table[name].isna()][0]
            others = table.loc[qid].notna().any()
            remedy = "but other systems have: run the same queries" if others else "and no system has: leave it out"
            raise DataError(f"{name} has no {measure} for the query {qid}, {remedy}")
        yield str(measure), table[list(dict.fromkeys(values["name"]))]


def _row(ours: pd.Series, theirs: pd.Series, test: Test, alpha: float) -> dict[str, Any]:
    differences = (ours - theirs).to_numpy()
    count, mean, deviation = len(differences), float(differences.mean()), _deviation(differences)
    margin = float(stats.t.ppf(1 - alpha / 2, count - 1)) * deviation / np.sqrt(count) if count > 1 else float("nan")
    return {
        "queries": count,
        "mean": float(ours.mean()),
        "difference": mean,
        "low": mean - margin,
        "high": mean + margin,
        "effect": _effect(mean, deviation),
        "wins": int((differences > 0).sum()),
        "ties": int((differences == 0).sum()),
        "losses": int((differences < 0).sum()),
        "p": _p_value(ours.to_numpy(), theirs.to_numpy(), test),
    }


def _deviation(differences: Values) -> float:
    """Returns the standard deviation; NaN for a single difference, and 0 for a mere rounding error."""
    if len(differences) < 2:
        return float("nan")
    deviation = float(differences.std(ddof=1))
    return 0.0 if deviation <= _ROUNDING * np.abs(differences).max() else deviation


def _effect(mean: float, deviation: float) -> float:
    if deviation == 0:
        return float("inf") * np.sign(mean) if mean else 0.0
    return mean / deviation


def _p_value(ours: Values, theirs: Values, test: Test) -> float:
    if len(ours) < 2:
        return float("nan")
    # Tests divide by the standard deviation or drop ties, so they fail if all values are equal.
    return float(test(ours, theirs)[1]) if (ours != theirs).any() else 1.0


def _corrected(p_values: list[float], correction: str | None, alpha: float) -> list[float]:
    if correction in (None, "none") or not p_values:
        return p_values
    from statsmodels.stats.multitest import multipletests

    try:
        # A missing p-value counts as a test in the correction, and stays missing.
        corrected = multipletests(np.nan_to_num(p_values, nan=1.0), alpha=alpha, method=correction)[1]
    except ValueError as error:
        raise SettingError(
            f"{correction!r} is not a correction of statsmodels: give holm, bonferroni, fdr_bh, …, or none"
        ) from error
    return [float(p) for p in np.where(np.isnan(p_values), np.nan, corrected)]
