"""A collection of 60 documents and a small untrained model, for quick comparisons from end to end."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from transformers import AutoTokenizer

from pyterrier_saesplade.collections import Collection, open_collection, write_collection
from pyterrier_saesplade.encoding import Encoder
from pyterrier_saesplade.model import SaeSpladeModel


@pytest.fixture(scope="session")
def small_collection(collection_folder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """Six judged queries of Cranfield, or of the docstrings, over 60 documents. The relevant documents come first."""
    source = open_collection(collection_folder("cranfield"))
    documents = {document["docno"]: document["text"][:400] for document in source.get_corpus_iter()}
    qrels = source.qrels()
    qids = qrels["qid"].drop_duplicates().head(6).tolist()
    qrels = qrels[qrels["qid"].isin(qids)].groupby("qid", sort=False).head(5)
    kept = list(dict.fromkeys([*qrels["docno"], *documents]))[:60]
    topics = source.topics()
    topics = topics[topics["qid"].isin(qids)]
    unjudged = pd.DataFrame({"qid": ["unjudged"], "query": ["a query that nobody has judged"]})
    return write_collection(
        tmp_path_factory.mktemp("collections") / "small",
        [{"docno": docno, "text": documents[docno]} for docno in kept],
        pd.concat([topics, unjudged]),
        qrels,
    )


@pytest.fixture(scope="session")
def untrained_model(splade_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model with a random head: 512 latents, 4 per token, documents cut at 64 word pieces.

    Its backbone has two layers of 128 dimensions.
    """
    torch.manual_seed(0)
    model = SaeSpladeModel.from_backbone(splade_path, width=512, k=4, k_sae=4, doc_max_length=64, weighting="idf")
    folder = tmp_path_factory.mktemp("models") / "untrained"
    Encoder(model, AutoTokenizer.from_pretrained(splade_path), precision="float32").save_pretrained(folder)
    return folder
