"""The code on the page on late interaction runs."""

import re
import textwrap
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pyterrier as pt
import pytest

import pyterrier_saesplade
from pyterrier_saesplade.collections import Collection, open_collection, write_collection

pytestmark = pytest.mark.slow

PAGE = Path(pyterrier_saesplade.__file__).parent / "pt_docs" / "late-interaction.rst"


def test_the_page_runs(
    checkpoint: Path,
    minilm_path: Path,
    docstrings_path: Path,
    as_dataset: Callable[[Collection], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = open_collection(docstrings_path)
    documents = islice(whole.get_corpus_iter(), 40)
    dataset = as_dataset(write_collection("small", documents, whole.topics().head(5), whole.qrels()))
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
