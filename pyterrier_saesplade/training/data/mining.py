"""Training data from pipelines of PyTerrier: one finds candidates, another is the teacher that scores them."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyterrier as pt
from more_itertools import chunked

from pyterrier_saesplade.collections import TextTable, key
from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.files import require_new

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
    """Writes a distillation file: for each query a positive, the candidates beside it, and what a teacher says of them.

    A line is ``[qid, [docno, score], [docno, score], …]``, the positive first; the first line is an object with the
    pipelines. Without judgements the positive is what the teacher ranks first. A query with fewer than two candidates,
    or with judgements but without a relevant document that the teacher scores, gets a line that is an object and says
    so. A run that is killed goes on when it is called again.

    Args:
        topics: The queries: ``qid`` and ``query``.
        retriever: Any pipeline from queries to results.
        teacher: Any pipeline that scores results (``qid``, ``query``, ``docno``) again: a cross-encoder, ColBERT, a
            dense re-ranker. If it needs texts, put what loads them in front: ``dataset.text_loader() >> reranker``.
        out: The file.
        qrels: Judgements; of a query's relevant documents the one that the teacher prefers is the positive, and the
            others are left out.
        nway: Passages of a line at most: the positive, and the first that the retriever finds.
        batch_size: Queries that are searched together; after each batch the file is complete up to there.
        names: What the file calls retriever and teacher, if not what ``repr`` says.
        overwrite: Replace an existing file.
        verbose: Whether to show progress.

    Returns:
        ``out``.

    Raises:
        FileExistsError: If the file exists and ``overwrite`` is false.
        ValueError: If an unfinished file was made by other pipelines, of other queries, or with other settings.

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
    os.replace(partial, out)
    return out


def with_known_documents(qrels: pd.DataFrame, passages: TextTable) -> pd.DataFrame:
    """Returns the judgements of documents that there are; says how many others were left out."""
    known = passages.rows(qrels["docno"].tolist()) >= 0
    if not known.all():
        _log.warning("left out: %s judgements of documents that the collection has not", f"{(~known).sum():,}")
    return qrels[known]


def relevant_documents(qrels: pd.DataFrame) -> dict[str, list[str]]:
    """Returns the relevant documents of each query that has some."""
    found = qrels[qrels["label"] > 0]
    return {str(qid): docnos.tolist() for qid, docnos in found.groupby("qid")["docno"]}


def _done(partial: Path, header: dict[str, Any]) -> int:
    """Returns how many topics an unfinished file has, or begins one; a line that was not written to its end goes."""
    if not partial.exists():
        partial.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(header) + "\n", encoding="utf-8")
        return 0
    content = partial.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    lines = whole.splitlines()
    if not lines or json.loads(lines[0]) != header:
        raise SettingError(
            f"{partial} was begun by other pipelines, with other queries or settings: finish that, or remove it"
        )
    with partial.open("r+b") as file:
        file.truncate(len(whole))
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
    of_query = dict(iter(scored.groupby("qid")))
    for qid in topics["qid"]:
        frame = of_query.get(qid)
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
    """Returns the documents to be scored: all that are relevant, and others up to ``nway - 1``."""
    if "rank" in found.columns:  # the union of two pipelines has none
        found = found.sort_values(["qid", "rank"], kind="stable")
    of_query = {qid: docnos.tolist() for qid, docnos in found.groupby("qid")["docno"]}
    rows = []
    for qid, query in zip(topics["qid"], topics["query"], strict=True):
        positives = relevant.get(qid, [])
        others = [docno for docno in of_query.get(qid, []) if docno not in set(positives)]
        rows += [(qid, query, docno) for docno in [*positives, *others[: nway - bool(positives)]]]
    frame = pd.DataFrame(rows, columns=["qid", "query", "docno"])
    return frame.assign(score=0.0, rank=frame.groupby("qid").cumcount())


def _pairs(scored: pd.DataFrame, positives: set[str] | None) -> list[tuple[str, float]]:
    """Returns documents with their scores, the best positive first, the others by falling score."""
    ordered = scored.sort_values(["score", "docno"], ascending=[False, True])
    pairs = [(docno, round(float(score), 5)) for docno, score in zip(ordered["docno"], ordered["score"], strict=True)]
    if positives is None:
        return pairs
    first = next(pair for pair in pairs if pair[0] in positives)
    return [first, *(pair for pair in pairs if pair[0] not in positives)]
