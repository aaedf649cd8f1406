"""Mining training data over a collection, with systems by name."""

from __future__ import annotations

import os
from pathlib import Path

import pyterrier as pt

from pyterrier_saesplade.collections import Collection, as_collection, passages_of, read_topics
from pyterrier_saesplade.evaluation.systems import ArtifactCache, Corpus, ResetQueries, make_system
from pyterrier_saesplade.files import require_new
from pyterrier_saesplade.training import mine, relevant_documents, with_known_documents


def mine_collection(
    collection: Collection | str | os.PathLike[str],
    retriever: str,
    teacher: str,
    out: str | os.PathLike[str],
    *,
    queries: str | os.PathLike[str] | None = None,
    query_set: str | None = "train",
    nway: int = 32,
    indexes: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    verbose: bool = False,
) -> Path:
    """Writes a distillation file over a collection; see :func:`~pyterrier_saesplade.mine` for the file.

    Args:
        collection: A collection, or its folder or name.
        retriever: The system that finds candidates, as :func:`~pyterrier_saesplade.evaluation.make_system` takes it.
        teacher: The system that scores them, written in the same way.
        out: The file.
        queries: A file of ``qid<TAB>query`` lines without qrels, in place of a query set of the collection.
        query_set: The query set, with its qrels.
        nway: Passages of a query at most, the positive included.
        indexes: The folder that indexes are kept in; ``OUT.indexes`` unless given.
        overwrite: Replace an existing file.
        verbose: Whether to show progress.

    Returns:
        ``out``.

    Raises:
        PathExistsError: If the file exists and ``overwrite`` is false.
        SettingError: If a system is not written as it should be, or the teacher cannot score given documents.

    Examples:
        >>> mine_collection("my-collection", "bm25", "saesplade=my-model", "mined.jsonl")
        PosixPath('mined.jsonl')
    """
    out = Path(out)
    require_new(out, overwrite=overwrite)
    opened = as_collection(collection)
    finding, scoring = (make_system(name, language=opened.language) for name in (retriever, teacher))
    artifacts = ArtifactCache(Corpus.read(opened), Path(f"{out}.indexes") if indexes is None else Path(indexes))
    qrels = None if queries else with_known_documents(opened.qrels(query_set), passages_of(opened))
    relevant = {} if qrels is None else relevant_documents(qrels)
    encode, retrieve = finding.stages(artifacts)
    # What is found may be relevant, and is then no candidate.
    depth = nway + max(map(len, relevant.values()), default=0)
    pipeline: pt.Transformer = encode >> retrieve % depth >> ResetQueries()
    return mine(
        opened.topics(query_set) if queries is None else read_topics(queries),
        pipeline,
        scoring.scorer(artifacts),
        out,
        qrels=qrels,
        nway=nway,
        names=(retriever, teacher),
        overwrite=overwrite,
        verbose=verbose,
    )
