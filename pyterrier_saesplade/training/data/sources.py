"""Readers of training data."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyterrier_saesplade.collections import (
    Collection,
    OnError,
    Problems,
    Texts,
    TextTable,
    as_collection,
    cached,
    decoded_lines,
    file_identity,
    identity_of,
    key,
    passages_of,
    queries_of,
)
from pyterrier_saesplade.errors import DataError, PathNotFoundError, SettingError
from pyterrier_saesplade.training.data.examples import Candidates, TrainingData, look_up, write_examples
from pyterrier_saesplade.training.extra import Dataset, DatasetsError, load_dataset, load_from_disk

if TYPE_CHECKING:
    import os

    import pandas as pd

#: Increase it when a change here changes what is written, so that nothing old is taken from the cache.
_VERSION = 3

#: Number of rows of a data set that are read at a time.
_WINDOW = 1000


def read_distillation(
    examples: str | os.PathLike[str], passages: Texts, queries: Texts | pd.DataFrame, *, on_error: OnError = "report"
) -> TrainingData:
    """Reads a distillation file, in the format that ColBERTv2 published and that ``saesplade mine`` writes.

    Each line is a JSON list ``[qid, [pid, score], [pid, score], …]`` whose first passage is the positive. Lines that
    are JSON objects, such as a header, are skipped. The data is kept in the cache of ``datasets`` and opened from there
    the next time.

    Args:
        examples: The file; compressed if its name ends in ``.gz``.
        passages: A file of ``pid<TAB>text`` lines (``.tsv[.gz]``), or a collection, its folder or its name.
        queries: A file of ``qid<TAB>query`` lines (``.tsv[.gz]``), a collection, its folder or its name, or a frame
            with the columns ``qid`` and ``query``.
        on_error: What happens if something cannot be used, such as a broken line or an unknown identifier.
            ``"report"``: leave it out, and count it in ``problems``. ``"raise"``: raise an error that names the line.

    Raises:
        PathNotFoundError: If a file is missing.
        DataError: If nothing can be used, or with ``on_error="raise"`` if anything cannot be used.

    Examples:
        >>> _ = Path("mined.jsonl").write_text('["q2", ["d4", 0.75], ["d3", 0.5], ["d11", 0.25]]')
        >>> data = read_distillation("mined.jsonl", "my-collection", topics)
        >>> data[0].scores.tolist()
        [0.75, 0.5, 0.25]

    References:
        Santhanam et al., ColBERTv2: Effective and Efficient Retrieval via Lightweight Late Interaction, NAACL 2022.
    """
    return _read_file("distillation", _parse_distillation, Path(examples), passages, queries, on_error)


def read_triples(
    examples: str | os.PathLike[str], passages: Texts, queries: Texts | pd.DataFrame, *, on_error: OnError = "report"
) -> TrainingData:
    """Reads a file of triples: lines of query, positive and negative identifiers, separated by spaces or tabs.

    Args:
        examples: The file of ``qid pid+ pid-`` lines; compressed if its name ends in ``.gz``.
        passages: As for :func:`read_distillation`.
        queries: As for :func:`read_distillation`.
        on_error: As for :func:`read_distillation`.

    Raises:
        PathNotFoundError: If a file is missing.
        DataError: If nothing can be used, or with ``on_error="raise"`` if anything cannot be used.

    Examples:
        >>> _ = Path("triples.tsv").write_text("q2 d4 d11")
        >>> data = read_triples("triples.tsv", "my-collection", topics)
        >>> len(data), data.has_negatives
        (1, True)
    """
    return _read_file("triples", _parse_triple, Path(examples), passages, queries, on_error)


def read_labels(
    collection: Collection | str | os.PathLike[str], query_set: str | None = "train", *, on_error: OnError = "report"
) -> TrainingData:
    """Reads the judged queries of a collection; their relevant documents become positives.

    The data has no negatives. Fine-tuning finds them with the model that it starts from: documents that this model
    ranks high and that were not judged relevant.

    Args:
        collection: A collection, its folder or its name.
        query_set: Name of one of its query sets, such as ``"train"``; ``None``: the collection's own queries.
        on_error: As for :func:`read_distillation`.

    Raises:
        PathNotFoundError: If there is no such query set.
        DataError: If no query has a relevant document.

    Examples:
        >>> len(read_labels("my-collection", "train"))
        4
    """
    opened = as_collection(collection)
    topics, qrels = opened.topics(query_set), opened.qrels(query_set)
    relevant = qrels[qrels["label"] > 0].sort_values(["qid", "label"], ascending=[True, False], kind="stable")
    positives = relevant.groupby("qid")["docno"].agg(list)
    source = {"labels": opened.name, "query set": query_set}
    digest = f"{key(topics.to_csv()):x}{key(qrels.to_csv()):x}"
    passages = passages_of(opened, on_error)
    queries, _ = queries_of(topics, on_error)
    found = (Candidates(f"qid {qid}", str(qid), docnos, (), len(docnos)) for qid, docnos in positives.items())

    def build(folder: Path) -> None:
        problems = Problems(on_error)
        write_examples(folder, look_up(found, queries, passages, problems), problems, source)

    parts = source | {"digest": digest, "documents": opened.identity, "on_error": on_error}
    return TrainingData(queries, passages, cached(parts | {"version": _VERSION}, build))


def read_dataset(dataset: Dataset | str | os.PathLike[str], *, on_error: OnError = "report") -> TrainingData:
    """Reads a data set of texts in the format of sentence-transformers.

    The columns are:

    * ``query``, ``anchor`` or ``question``: the query's text.
    * ``positive``: the positive's text.
    * Columns whose names begin with ``negative``, such as ``negatives`` or ``negative_1``, if there are any: texts, or
      lists of texts.
    * ``score``, ``scores``, ``label`` or ``labels``, if there is one: a list with a teacher's scores of the positive
      and the negatives in order, or a number, the margin between the positive and the only negative.

    Args:
        dataset: A ``datasets.Dataset``, a folder that ``save_to_disk`` wrote, a file (``.parquet``, ``.jsonl``,
            ``.json``, ``.csv``), or a name on the hub, whose split ``train`` is read.
        on_error: As for :func:`read_distillation`.

    Raises:
        PathNotFoundError: If there is no such data set.
        DataError: If it cannot be read or downloaded, a column is missing, or nothing can be used.

    Examples:
        >>> texts = {"query": ["young cat"], "positive": ["A kitten is a young cat."], "negative": ["Cats sleep."]}
        >>> data = read_dataset(Dataset.from_dict(texts))
        >>> len(data), data.scored
        (1, False)
    """
    opened = dataset if isinstance(dataset, Dataset) else _open_dataset(Path(dataset))
    columns = _columns(opened)
    parts = {"dataset": opened._fingerprint, "columns": opened.column_names, "on_error": on_error, "version": _VERSION}
    name = "a data set in memory" if isinstance(dataset, Dataset) else str(dataset)

    def build(folder: Path) -> None:
        problems = Problems(on_error)
        # Three passes, so that texts never fill the memory; only the last one counts problems.
        query_texts = (one.qid for one in _rows(opened, columns, Problems()))
        queries = TextTable.write(folder / "queries.utf8", _distinct(query_texts))
        passage_texts = (text for one in _rows(opened, columns, Problems()) for text in one.pids)
        passages = TextTable.write(folder / "passages.utf8", _distinct(passage_texts))
        found = look_up(_rows(opened, columns, problems), queries, passages, problems)
        source = {"dataset": name} | ({"licence": opened.info.license} if opened.info.license else {})
        write_examples(folder, found, problems, source)

    folder = cached(parts, build)
    return TrainingData(TextTable(folder / "queries.utf8"), TextTable(folder / "passages.utf8"), folder)


def read_training_data(
    collection: Collection | str | os.PathLike[str] | None = None,
    *,
    query_set: str | None = "train",
    examples: Sequence[str | os.PathLike[str]] = (),
    passages: Sequence[Texts] = (),
    queries: Sequence[Texts | pd.DataFrame] = (),
    dataset: Dataset | str | os.PathLike[str] | None = None,
    on_error: OnError = "report",
) -> list[TrainingData]:
    """Reads training data from any of the sources that ``saesplade finetune`` takes.

    Args:
        collection: A collection, its folder or its name. Without ``examples``, the qrels of its ``query_set`` are the
            training data. With ``examples``, it supplies the passages and queries, unless these are given.
        query_set: Name of a query set of ``collection``; ``None``: the collection's own queries.
        examples: Distillation files, or files of triples if their names end in ``.tsv[.gz]``.
        passages: The source of passages for each file of examples, as for :func:`read_distillation`.
        queries: The source of queries for each file of examples, as for :func:`read_distillation`.
        dataset: A data set of texts, as for :func:`read_dataset`, instead of all the above.
        on_error: As for :func:`read_distillation`.

    Returns:
        The data of each file of examples; or one element, the data set's or the collection's.

    Raises:
        PathNotFoundError: If a file or the query set does not exist.
        SettingError: If arguments are missing or exclude each other.
        DataError: If the data cannot be used.

    Examples:
        >>> _ = Path("triples.tsv").write_text("q2 d4 d11")
        >>> (data,) = read_training_data("my-collection", examples=["triples.tsv"])
        >>> len(data)
        1
    """
    if dataset is not None:
        if collection is not None or examples or passages or queries:
            raise SettingError("a data set of texts has its own queries and passages: give no other data as well")
        return [read_dataset(dataset, on_error=on_error)]
    if not examples:
        if collection is None or passages or queries:
            raise SettingError("give a collection with qrels, files of examples, or a data set")
        return [read_labels(collection, query_set, on_error=on_error)]
    if collection is not None:
        opened = as_collection(collection)
        passages = passages or [opened] * len(examples)
        queries = queries or [opened.topics(query_set)] * len(examples)
    if not len(examples) == len(passages) == len(queries):
        raise SettingError(
            f"each of the {len(examples)} files of examples needs a source of passages and a source of queries, not "
            f"{len(passages)} and {len(queries)} in all"
        )
    read = []
    for file, its_passages, its_queries in zip(examples, passages, queries, strict=True):
        reader = read_triples if str(file).endswith((".tsv", ".tsv.gz")) else read_distillation
        read.append(reader(file, its_passages, its_queries, on_error=on_error))
    return read


def _read_file(
    kind: str, parse: Any, file: Path, passages: Texts, queries: Texts | pd.DataFrame, on_error: OnError
) -> TrainingData:
    if not file.is_file():
        raise PathNotFoundError(f"there is no file of examples at {file}")
    passage_table, (query_table, query_identity) = passages_of(passages, on_error), queries_of(queries, on_error)
    parts = {"kind": kind, "passages": identity_of(passages), "queries": query_identity, "on_error": on_error}

    def build(folder: Path) -> None:
        problems = Problems(on_error)
        found = look_up(_parsed(file, parse, problems), query_table, passage_table, problems)
        write_examples(folder, found, problems, {kind: file.name} | _header(file))

    folder = cached(parts | file_identity(file) | {"version": _VERSION}, build)
    return TrainingData(query_table, passage_table, folder)


def _parsed(file: Path, parse: Any, problems: Problems) -> Iterator[Candidates]:
    for where, line in decoded_lines(file, problems):
        try:
            found = parse(where, line)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            problems.note(where, "broken line", str(error))
            continue
        if isinstance(found, Candidates):
            yield found
        elif found is not None:
            problems.note(where, "left out when it was mined", found)


def _parse_distillation(where: str, line: str) -> Candidates | str | None:
    """Returns a line's candidates, or the reason why ``mine`` left the query out, or ``None`` for a header."""
    record = json.loads(line)
    if isinstance(record, dict):
        return record.get("left out")
    qid, *pairs = record
    pids = [str(pid) for pid, _ in pairs]
    if len(pids) < 2:
        raise DataError("expected [qid, [pid, score], [pid, score], …] with at least two passages")
    return Candidates(where, str(qid), pids, _finite(score for _, score in pairs), 1)


def _parse_triple(where: str, line: str) -> Candidates:
    fields = line.split()
    if len(fields) != 3:
        raise DataError(f"expected qid, positive and negative, found {len(fields)} columns")
    return Candidates(where, fields[0], fields[1:], (), 1)


def _header(file: Path) -> dict[str, Any]:
    """Returns the header in which ``mine`` records the pipelines, or an empty one if the file has none."""
    for _, line in decoded_lines(file, Problems()):
        try:
            record = json.loads(line)
        except ValueError:
            return {}
        return record if isinstance(record, dict) else {}
    return {}


def _open_dataset(path: Path) -> Dataset:
    try:
        return _load_dataset(path)
    except FileNotFoundError as error:
        raise PathNotFoundError(f"there is no data set at {path}: {error}") from error
    except (OSError, ValueError, DatasetsError) as error:
        raise DataError(f"the data set {path} cannot be read: {error}") from error


def _load_dataset(path: Path) -> Dataset:
    formats = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".csv": "csv"}
    if path.is_dir():
        return load_from_disk(str(path))
    if path.suffix in formats:
        return load_dataset(formats[path.suffix], data_files=str(path), split="train")
    return load_dataset(str(path), split="train")


def _columns(dataset: Dataset) -> dict[str, Any]:
    names = dataset.column_names
    query = next((name for name in ("query", "anchor", "question") if name in names), None)
    score = next((name for name in ("score", "scores", "label", "labels") if name in names), None)
    negatives = [name for name in names if name.startswith("negative")]
    if query is None or "positive" not in names:
        raise DataError(f"a data set needs columns 'query' and 'positive'; this one has {', '.join(names)}")
    return {"query": query, "negatives": negatives, "score": score}


def _rows(dataset: Dataset, columns: dict[str, Any], problems: Problems) -> Iterator[Candidates]:
    """Yields the rows of a data set; texts are their own identifiers."""
    number = 0
    for table in dataset.iter(batch_size=_WINDOW):
        for row in (dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)):
            try:
                yield _parse_row(f"row {number}", row, columns)
            except (TypeError, ValueError) as error:
                problems.note(f"row {number}", "broken row", str(error))
            number += 1


def _parse_row(where: str, row: dict[str, Any], columns: dict[str, Any]) -> Candidates:
    query, texts = row[columns["query"]], [row["positive"]]
    for name in columns["negatives"]:
        texts += [row[name]] if isinstance(row[name], str) else list(row[name] or [])
    if not all(isinstance(text, str) and text.strip() for text in (query, *texts)):
        raise DataError("a text is missing or empty")
    score = row[columns["score"]] if columns["score"] else []
    scores = _finite(score if isinstance(score, Sequence) else (score, 0))
    if len(scores) not in (0, len(texts)):
        raise DataError(f"there must be one score per text, not {len(scores)} for {len(texts)}")
    return Candidates(where, query, texts, scores, 1)


def _finite(values: Iterable[Any]) -> list[float]:
    """Returns scores as floats, and checks that they are finite."""
    scores = [float(value) for value in values]
    for score in scores:
        if not math.isfinite(score):
            raise DataError(f"the score {score} is not a finite number")
    return scores


def _distinct(texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yields each text once, as its own identifier."""
    seen: set[int] = set()
    for text in texts:
        number = key(text)
        if number not in seen:
            seen.add(number)
            yield text, text
