"""The files that training data is read from."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

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
from pyterrier_saesplade.errors import DataError, PathNotFoundError
from pyterrier_saesplade.training.data.examples import Candidates, TrainingData, look_up, write_examples
from pyterrier_saesplade.training.extra import Dataset, load_dataset, load_from_disk

#: A change of these functions that changes what they write changes this, so that nothing old is taken from the cache.
_VERSION = 3

#: Rows of a data set that are read together.
_WINDOW = 1000


def read_distillation(
    examples: str | os.PathLike[str], passages: Texts, queries: Texts | pd.DataFrame, *, on_error: OnError = "report"
) -> TrainingData:
    """Reads a distillation file as ColBERTv2 publishes it for MS MARCO, or as ``saesplade mine`` writes it.

    A line is a JSON list: ``[qid, [pid, score], [pid, score], …]``, the first passage the positive. Lines that are JSON
    objects, such as a header, are passed over. What is read is kept in the cache of ``datasets``, and opened from there
    the next time.

    Args:
        examples: The file; compressed if it ends in ``.gz``.
        passages: A file of ``pid<TAB>text`` lines (``.tsv[.gz]``), or a collection or its name.
        queries: The same of queries, or a frame of ``qid`` and ``query``.
        on_error: ``"report"``: leave out what cannot be used (broken lines, unknown identifiers), and say how much it
            was; ``"raise"``: an error that names the line.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If nothing can be used, or with ``"raise"`` something cannot.

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
    """Reads lines of ``qid pid+ pid-``, separated by blanks or tabs; see :func:`read_distillation`.

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
    """Takes the judged queries of a collection: what is relevant is positive, and negatives are to be found.

    Fine-tuning searches the collection with the model that it starts from: what that ranks high and was not judged
    relevant is a negative.

    Args:
        collection: A collection, or its folder or name.
        query_set: Which of its query sets, such as ``"train"``; ``None``: that of the collection itself.
        on_error: As for :func:`read_distillation`.

    Raises:
        FileNotFoundError: If there is no such query set.
        ValueError: If no query has a relevant document.

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
    """Reads a data set of texts, as sentence-transformers trains on.

    Args:
        dataset: A data set of ``datasets``; a folder that ``save_to_disk`` wrote, a file (``.parquet``, ``.jsonl``,
            ``.json``, ``.csv``), or a name on the hub. Its columns: ``query`` (or ``anchor``, ``question``);
            ``positive``; ``negative`` or ``negatives``, also numbered, texts or lists of them, if there are any; and
            ``score``, ``scores``, ``label`` or ``labels`` with a teacher's scores of the positive and the negatives in
            order, or with the margin between them.
        on_error: As for :func:`read_distillation`.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If a column is missing, or nothing can be used.

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
        # Three passes, so that texts are never in memory; the last takes note of what is left out.
        of_queries = (one.qid for one in _rows(opened, columns, Problems()))
        queries = TextTable.write(folder / "queries.utf8", _distinct(of_queries))
        of_passages = (text for one in _rows(opened, columns, Problems()) for text in one.pids)
        passages = TextTable.write(folder / "passages.utf8", _distinct(of_passages))
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
    """Reads whatever is given, as ``saesplade finetune`` takes it.

    Args:
        collection: A collection. Without examples, the judgements of its ``query_set`` are learned from; with examples,
            its documents and the queries of that set are theirs, unless passages or queries are given.
        query_set: See ``collection``.
        examples: Distillation files, or triples if their names end in ``.tsv[.gz]``.
        passages: For each file of examples its passages.
        queries: For each file of examples its queries.
        dataset: In place of all these a data set of texts.
        on_error: As for :func:`read_distillation`.

    Raises:
        ValueError: If too little is given, or too much.
    """
    if dataset is not None:
        if collection is not None or examples or passages or queries:
            raise DataError("a data set of texts brings its queries and passages: give no other data beside it")
        return [read_dataset(dataset, on_error=on_error)]
    if not examples:
        if collection is None or passages or queries:
            raise DataError("give a collection with judgements, files of examples, or a data set")
        return [read_labels(collection, query_set, on_error=on_error)]
    if collection is not None:
        opened = as_collection(collection)
        passages = passages or [opened] * len(examples)
        queries = queries or [opened.topics(query_set)] * len(examples)
    if not len(examples) == len(passages) == len(queries):
        raise DataError(f"{len(examples)} files of examples need as many sources of passages, and of queries")
    read = []
    for file, of_passages, of_queries in zip(examples, passages, queries, strict=True):
        reader = read_triples if str(file).endswith((".tsv", ".tsv.gz")) else read_distillation
        read.append(reader(file, of_passages, of_queries, on_error=on_error))
    return read


def _read_file(
    kind: str, parse: Any, file: Path, passages: Texts, queries: Texts | pd.DataFrame, on_error: OnError
) -> TrainingData:
    if not file.is_file():
        raise PathNotFoundError(f"there is no file of examples at {file}")
    of_passages, (of_queries, query_identity) = passages_of(passages, on_error), queries_of(queries, on_error)
    parts = {"kind": kind, "passages": identity_of(passages), "queries": query_identity, "on_error": on_error}

    def build(folder: Path) -> None:
        problems = Problems(on_error)
        found = look_up(_parsed(file, parse, problems), of_queries, of_passages, problems)
        write_examples(folder, found, problems, {kind: file.name} | _header(file))

    folder = cached(parts | file_identity(file) | {"version": _VERSION}, build)
    return TrainingData(of_queries, of_passages, folder)


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
    """Returns what a line holds: candidates, why ``mine`` has none for a query, or nothing (a header)."""
    record = json.loads(line)
    if isinstance(record, dict):
        return record.get("left out")
    qid, *pairs = record
    pids = [str(pid) for pid, _ in pairs]
    scores = [float(score) for _, score in pairs]
    if len(pids) < 2:
        raise DataError("expected [qid, [pid, score], [pid, score], …] with at least two passages")
    if not all(map(math.isfinite, scores)):
        raise DataError("a score is no finite number")
    return Candidates(where, str(qid), pids, scores, 1)


def _parse_triple(where: str, line: str) -> Candidates:
    fields = line.split()
    if len(fields) != 3:
        raise DataError(f"expected qid, positive and negative, found {len(fields)} columns")
    return Candidates(where, fields[0], fields[1:], (), 1)


def _header(file: Path) -> dict[str, Any]:
    """Returns what ``saesplade mine`` wrote of the pipelines that made a file."""
    for _, line in decoded_lines(file, Problems()):
        try:
            record = json.loads(line)
        except ValueError:
            return {}
        return record if isinstance(record, dict) else {}
    return {}


def _open_dataset(path: Path) -> Dataset:
    formats = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".csv": "csv"}
    if path.is_dir():
        return load_from_disk(str(path))
    if path.suffix in formats:
        if not path.is_file():
            raise PathNotFoundError(f"there is no data set at {path}")
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
    """Yields a data set's rows, with texts as identifiers."""
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
        raise DataError("text missing or empty")
    score = row[columns["score"]] if columns["score"] else []
    scores = [float(value) for value in score] if isinstance(score, Sequence) else [float(score), 0.0]
    if len(scores) not in (0, len(texts)):
        raise DataError(f"as many scores as texts are needed, not {len(scores)} for {len(texts)}")
    if not all(map(math.isfinite, scores)):
        raise DataError("a score is no finite number")
    return Candidates(where, query, texts, scores, 1)


def _distinct(texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yields each text once, as its own identifier."""
    seen: set[int] = set()
    for text in texts:
        number = key(text)
        if number not in seen:
            seen.add(number)
            yield text, text
