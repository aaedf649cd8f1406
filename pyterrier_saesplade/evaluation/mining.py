"""Mining of training data from a collection, with systems by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pyterrier_saesplade.collections import Collection, as_collection, passages_of, read_topics
from pyterrier_saesplade.evaluation.systems import ArtifactCache, Corpus, ResetQueries, make_system
from pyterrier_saesplade.files import require_new
from pyterrier_saesplade.training import mine, relevant_documents, with_known_documents

if TYPE_CHECKING:
    import os

    import pyterrier as pt


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
    """Writes a distillation file for a collection; :func:`~pyterrier_saesplade.mine` describes its format.

    Args:
        collection: A collection, or its folder or name.
        retriever: The name of the system that finds candidates, as in
            :func:`~pyterrier_saesplade.evaluation.make_system`.
        teacher: The name of the system that scores the candidates.
        out: The path of the distillation file.
        queries: A file of ``qid<TAB>query`` lines without qrels, instead of a query set of the collection.
        query_set: A query set of the collection, with qrels.
        nway: Maximum number of passages per query, the positive included.
        indexes: The folder of indexes; ``OUT.indexes`` by default.
        overwrite: Replace an existing file.
        verbose: Whether to show progress.

    Returns:
        The path of the distillation file.

    Raises:
        PathExistsError: If the file exists and ``overwrite`` is false.
        SettingError: If the name of a system is not valid, or the teacher cannot score given documents.

    Examples:
        >>> mine_collection("my-collection", "bm25", "saesplade=my-model", "mined.jsonl")
        PosixPath('mined.jsonl')
    """
    out = Path(out)
    require_new(out, overwrite=overwrite)
    opened = as_collection(collection)
    finding, scoring = (make_system(name, language=opened.language) for name in (retriever, teacher))
    artifacts = ArtifactCache(Corpus.read(opened), Path(f"{out}.indexes") if indexes is None else Path(indexes))
    scorer = scoring.scorer(artifacts)  # first, so that a teacher that cannot score is found before indexing
    qrels = None if queries else with_known_documents(opened.qrels(query_set), passages_of(opened))
    relevant = {} if qrels is None else relevant_documents(qrels)
    encode, retrieve = finding.stages(artifacts)
    # Relevant documents are not candidates, so retrieve as many more documents as a query may have relevant ones.
    depth = nway + max(map(len, relevant.values()), default=0)
    pipeline: pt.Transformer = encode >> retrieve % depth >> ResetQueries()
    return mine(
        opened.topics(query_set) if queries is None else read_topics(queries),
        pipeline,
        scorer,
        out,
        qrels=qrels,
        nway=nway,
        names=(retriever, teacher),
        overwrite=overwrite,
        verbose=verbose,
    )
