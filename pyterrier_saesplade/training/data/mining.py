"""Training data from PyTerrier pipelines: a retriever finds candidates, and a teacher scores them."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyterrier as pt
from more_itertools import chunked

from pyterrier_saesplade.collections import TextTable, key
from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.files import require_new

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

_log = logging.getLogger(__name__)

_MINED = "mined by pyterrier_saesplade"


def mine(
    topics: pd.DataFrame,
    retriever: pt.Transformer,
    teacher: pt.Transformer,
    out: str | os.PathLike[str],
    *,
    qrels: pd.DataFrame | None = None,
    nway: int = 32,
    batch_size: int = 64,
    names: tuple[str, str] | None = None,
    overwrite: bool = False,
    verbose: bool = False,
) -> Path:
    """Writes a distillation file with a positive, other candidates and a teacher's scores for each query.

    Each line is ``[qid, [docno, score], [docno, score], …]``, the positive first. The first line of the file is an
    object that names the pipelines. Without qrels the positive is the document that the teacher ranks first. A query
    gets an object with the reason instead of candidates if it has fewer than two candidates, or if there are qrels but
    the teacher scored no relevant document or no other document. If the call is killed, the same call resumes it.

    Args:
        topics: The queries, a frame with the columns ``qid`` and ``query``.
        retriever: Any pipeline from queries to results.
        teacher: Any pipeline that re-scores results (``qid``, ``query``, ``docno``), such as a cross-encoder, ColBERT
            or a dense re-ranker. If it needs texts, put a text loader first: ``dataset.text_loader() >> reranker``.
        out: The file to write.
        qrels: Qrels of the queries. The positive of a query is the relevant document with the teacher's highest score;
            its other relevant documents are left out.
        nway: Maximum number of passages per line: the positive, and the first ones that the retriever finds.
        batch_size: Number of queries per batch. A resumed call starts with the first unfinished batch.
        names: Names of the retriever and the teacher in the file; ``None``: their ``repr``.
        overwrite: Whether to replace an existing file.
        verbose: Whether to show progress.

    Returns:
        ``out``.

    Raises:
        PathExistsError: If the file exists and ``overwrite`` is false.
        SettingError: If ``nway`` or ``batch_size`` is too small, or an unfinished file was written with other
            pipelines, queries or settings.

    Examples:
        >>> teacher = dataset.text_loader() >> model.scorer()
        >>> mine(topics, bm25, teacher, "mined.jsonl", qrels=qrels)
        PosixPath('mined.jsonl')
    """
    out = Path(out)
    require_new(out, overwrite=overwrite)
    pt.validate.query_frame(topics, extra_columns=["query"])
    topics = topics.astype({"qid": str})
    if nway < 2 or batch_size < 1:
        raise SettingError(f"nway must be at least 2 and batch_size at least 1, not {nway} and {batch_size}")
    retriever_name, teacher_name = names or (repr(retriever), repr(teacher))
    header = {
        _MINED: 1,
        "retriever": retriever_name,
        "teacher": teacher_name,
        "nway": nway,
        "labels": qrels is not None,
        "topics": key(topics[["qid", "query"]].to_csv(index=False)),
        "qrels": None if qrels is None else key(qrels[["qid", "docno", "label"]].to_csv(index=False)),
    }
    relevant = {} if qrels is None else relevant_documents(qrels)
    partial = out.with_name(f"{out.name}.partial")
    done = _done(partial, header)
    waiting = topics.iloc[done:]
    with partial.open("a", encoding="utf-8") as file:
        for rows in pt.tqdm(
            list(chunked(range(len(waiting)), batch_size)), desc="Mining", unit="batch", disable=not verbose
        ):
            batch = waiting.iloc[rows]
            lines = _lines(batch, retriever, teacher, None if qrels is None else relevant, nway)
            file.write("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
            file.flush()
    partial.replace(out)
    return out


def with_known_documents(qrels: pd.DataFrame, passages: TextTable) -> pd.DataFrame:
    """Returns the qrels of documents that exist, and logs how many others were left out.

    Args:
        qrels: A frame with the column ``docno``.
        passages: The texts of the documents that exist.

    Examples:
        >>> data = read_labels("my-collection")
        >>> with_known_documents(pd.DataFrame({"docno": ["d4", "unknown"]}), data.passages)
          docno
        0    d4
    """
    known = passages.rows(qrels["docno"].tolist()) >= 0
    if not known.all():
        _log.warning("left out: %s qrels of documents missing from the collection", f"{(~known).sum():,}")
    return qrels[known]


def relevant_documents(qrels: pd.DataFrame) -> dict[str, list[str]]:
    """Returns the relevant documents of each query that has at least one.

    Args:
        qrels: A frame with the columns ``qid``, ``docno`` and ``label``.

    Examples:
        >>> relevant_documents(qrels)["q3"]
        ['d2', 'd9']
    """
    found = qrels[qrels["label"] > 0]
    return {str(qid): docnos.tolist() for qid, docnos in found.groupby("qid")["docno"]}


def _done(partial: Path, header: dict[str, Any]) -> int:
    """Returns how many topics an unfinished file holds, after removing an incomplete last line; or starts a file."""
    if not partial.exists():
        partial.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(header) + "\n", encoding="utf-8")
        return 0
    content = partial.read_bytes()
    complete = content[: content.rfind(b"\n") + 1]
    lines = complete.splitlines()
    if not lines or json.loads(lines[0]) != header:
        raise SettingError(
            f"{partial} was started with other pipelines, queries or settings: finish that run, or remove the file"
        )
    with partial.open("r+b") as file:
        file.truncate(len(complete))
    return len(lines) - 1


def _lines(
    topics: pd.DataFrame,
    retriever: pt.Transformer,
    teacher: pt.Transformer,
    relevant: dict[str, list[str]] | None,
    nway: int,
) -> Iterator[Any]:
    found = retriever.transform(topics)
    candidates = _candidates(topics, found, relevant or {}, nway)
    scored = teacher.transform(candidates) if len(candidates) else candidates.assign(score=[])
    scored_of = dict(iter(scored.groupby("qid")))
    for qid in topics["qid"]:
        frame = scored_of.get(qid)
        if relevant is not None and qid not in relevant:
            yield {"qid": qid, "left out": "no relevant document"}
        elif frame is None or len(frame) < 2:
            yield {"qid": qid, "left out": "fewer than two candidates"}
        elif relevant is not None and not frame["docno"].isin(relevant[qid]).any():
            yield {"qid": qid, "left out": "no relevant document that the teacher scores"}
        elif relevant is not None and frame["docno"].isin(relevant[qid]).all():
            yield {"qid": qid, "left out": "no candidate that is not relevant"}
        else:
            yield [qid, *_pairs(frame, None if relevant is None else set(relevant[qid]))]


def _candidates(topics: pd.DataFrame, found: pd.DataFrame, relevant: dict[str, list[str]], nway: int) -> pd.DataFrame:
    """Returns the documents to score: all relevant ones, and ``nway - 1`` others, or ``nway`` if none is relevant."""
    if "rank" in found.columns:  # PyTerrier's union of two pipelines has no ranks
        found = found.sort_values(["qid", "rank"], kind="stable")
    found_of = {qid: docnos.tolist() for qid, docnos in found.groupby("qid")["docno"]}
    rows = []
    for qid, query in zip(topics["qid"], topics["query"], strict=True):
        positives = relevant.get(qid, [])
        others = [docno for docno in found_of.get(qid, []) if docno not in set(positives)]
        rows += [(qid, query, docno) for docno in [*positives, *others[: nway - bool(positives)]]]
    frame = pd.DataFrame(rows, columns=["qid", "query", "docno"])
    return frame.assign(score=0.0, rank=frame.groupby("qid").cumcount())


def _pairs(scored: pd.DataFrame, positives: set[str] | None) -> list[tuple[str, float]]:
    """Returns documents and scores: the best positive, then all that are not positive, in descending order."""
    ordered = scored.sort_values(["score", "docno"], ascending=[False, True])
    pairs = [(docno, round(float(score), 5)) for docno, score in zip(ordered["docno"], ordered["score"], strict=True)]
    if positives is None:
        return pairs
    first = next(pair for pair in pairs if pair[0] in positives)
    return [first, *(pair for pair in pairs if pair[0] not in positives)]
