"""The code on the page on late interaction runs."""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import pyterrier as pt
import pytest

import pyterrier_saesplade
from pyterrier_saesplade.collections import Collection, open_collection

pytestmark = pytest.mark.slow

PAGE = Path(pyterrier_saesplade.__file__).parent / "pt_docs" / "late-interaction.rst"


@dataclass(frozen=True)
class SmallDataset:
    """The first 40 documents of a collection, with the methods of PyTerrier datasets that the page calls."""

    collection: Collection

    def get_corpus_iter(self) -> Iterator[dict[str, str]]:
        return islice(self.collection.get_corpus_iter(), 40)

    def get_topics(self) -> pd.DataFrame:
        return self.collection.topics().head(5)

    def get_qrels(self) -> pd.DataFrame:
        return self.collection.qrels()

    def text_loader(self) -> pt.Transformer:
        texts = {document["docno"]: document["text"] for document in self.get_corpus_iter()}
        return pt.apply.text(lambda row: texts[row["docno"]])


def test_the_page_runs(
    checkpoint: Path, minilm_path: Path, docstrings_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dataset = SmallDataset(open_collection(docstrings_path))
    words = pt.terrier.TerrierIndex("words.terrier")
    words.indexer(meta={"docno": 200}).index(dataset.get_corpus_iter())
    names: dict[str, Any] = {"pt": pt, "dataset": dataset, "bm25": pt.rewrite.tokenise() >> words.bm25(num_results=10)}
    text = PAGE.read_text("utf-8")
    blocks = re.findall(r"^    \.\. code-block:: python\n        :caption: .*\n((?: {8}.*\n|\n)+)", text, re.M)
    assert len(blocks) == 4
    for block in blocks:
        block = textwrap.dedent(block)
        for hub, folder in (("colbert-ir/colbertv2.0", checkpoint), ("distilbert-base-uncased", minilm_path)):
            block = block.replace(f'"{hub}"', repr(str(folder)))
        exec(compile(block, block, "exec"), names)
    assert len(names["retriever"].search("a numpy array")) > 20
    assert names["index"].n_ivf_probe == 16
