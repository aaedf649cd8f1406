"""A folder with a small collection, and a model that the command line pre-trained on it."""

from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from pyterrier_saesplade.cli import app
from pyterrier_saesplade.collections import write_collection

WORDS = ["index", "query", "sparse", "dense", "vector", "term", "score", "rank", "latent", "concept", "corpus", "token"]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, splade_path: Path) -> Path:
    """A folder with the collection ``docs`` of 24 documents and ``model``, pre-trained on it from the command line."""
    folder = tmp_path_factory.mktemp("cli")
    texts = [" ".join(WORDS[(i * step) % 12] for i in range(1, 20)) for step in range(1, 25)]
    documents = [{"docno": f"d{i}", "text": text} for i, text in enumerate(texts)]
    topics = pd.DataFrame({"qid": ["q1", "q2"], "query": ["sparse latent concept", "dense vector"]})
    qrels = pd.DataFrame({"qid": ["q1", "q1", "q2"], "docno": ["d0", "d5", "d7"], "label": [2, 1, 1]})
    write_collection(folder / "docs", documents, topics, qrels)
    settings = folder / "settings.yaml"
    settings.write_text("pretrain: {steps: 9, width: 999, batch_tokens: 64, k: 4}", encoding="utf-8")
    command = ["pretrain", "--collection", folder / "docs", "--backbone", splade_path, "--out", folder / "model"]
    command += ["--queries", folder / "docs" / "queries.tsv", "--config", settings, "--width", 64, "--set", "steps=3"]
    result = CliRunner().invoke(app, [str(argument) for argument in command], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return folder
