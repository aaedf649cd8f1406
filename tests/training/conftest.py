"""A small real backbone and corpus, a model pre-trained on it, judged queries, and trainings in processes to kill."""

import itertools
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import psutil
import pytest
import torch

from pyterrier_saesplade.collections import Collection, open_collection, write_collection
from pyterrier_saesplade.encoding import Encoder
from pyterrier_saesplade.model import SaeSpladeModel
from pyterrier_saesplade.training import PretrainConfig, pretrain


@pytest.fixture(scope="session")
def documents(collection_folder: Callable[[str], Path]) -> list[dict[str, str]]:
    """The first 300 documents of Vaswani, or of the docstrings."""
    corpus = open_collection(str(collection_folder("vaswani"))).get_corpus_iter()
    return list(itertools.islice(corpus, 300))


@pytest.fixture(scope="session")
def encoder(splade_path: Path) -> Encoder:
    """The 4.4M backbone with an untrained SAE on its last layer."""
    from transformers import AutoTokenizer

    torch.manual_seed(0)
    model = SaeSpladeModel.from_backbone(splade_path, width=256, k=4, doc_max_length=32, decoder=True)
    return Encoder(model, AutoTokenizer.from_pretrained(splade_path), precision="float32")


@pytest.fixture(scope="session")
def judged(docstrings_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """A collection of 240 docstrings, with 80 queries that have one relevant document each."""
    whole = open_collection(docstrings_path)
    qrels = whole.qrels().head(80)
    needed = set(qrels["docno"])
    first = [document for document in whole.get_corpus_iter() if document["docno"] in needed]
    others = (document for document in whole.get_corpus_iter() if document["docno"] not in needed)
    topics = whole.topics()
    topics = topics[topics["qid"].isin(qrels["qid"])]
    folder = tmp_path_factory.mktemp("collections") / "judged"
    return write_collection(folder, [*first, *itertools.islice(others, 160)], topics, qrels)


@pytest.fixture(scope="session")
def pretrained_path(judged: Collection, splade_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with 512 latents, learned from the judged collection."""
    config = PretrainConfig(width=512, k=4, steps=30, batch_tokens=512, doc_max_length=32, query_max_length=16)
    folder = tmp_path_factory.mktemp("models") / "pretrained"
    return pretrain(splade_path, judged.get_corpus_iter(), folder, config)


@pytest.fixture(scope="session", autouse=True)
def _data_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps cached training data in a folder of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


#: What processes need, imported once before they are forked.
PRELOADED = [
    "transformers.models.bert.modeling_bert",
    "pyterrier_saesplade.training.pretraining.pretrain",
    "pyterrier_saesplade.training.finetuning.finetune",
]


@pytest.fixture(scope="session")
def start(_data_cache: None) -> Callable[..., ForkServerProcess]:
    """Starts a training in a process of its own, with one thread. Equal calls give equal weights."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)

    def start(train: Callable[..., Path], *arguments: object) -> ForkServerProcess:
        process = context.Process(target=train, args=arguments, kwargs={"device": "cpu"})
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OMP_NUM_THREADS", "1")  # read when the server starts, with the first process
            process.start()
        return process

    return start


@pytest.fixture(scope="session")
def run_in_process(start: Callable[..., ForkServerProcess]) -> Callable[..., None]:
    """Runs a training in a process of its own."""

    def run(train: Callable[..., Path], *arguments: object) -> None:
        process = start(train, *arguments)
        process.join()
        assert process.exitcode == 0

    return run


@pytest.fixture(scope="session")
def run_until(start: Callable[..., ForkServerProcess]) -> Callable[..., bool]:
    """Runs a training until a file exists, and kills it then. Returns whether it was killed."""

    def run(milestone: Path, train: Callable[..., Path], *arguments: object) -> bool:
        process = start(train, *arguments)
        while process.is_alive() and not milestone.exists():
            time.sleep(0.002)
        killed = process.is_alive()
        if killed:
            kill(psutil.Process(process.pid))
        process.join()
        return killed

    return run


def kill(process: psutil.Process) -> None:
    """Kills a process and those that it started, which would keep its locks."""
    os.kill(process.pid, signal.SIGSTOP)
    for one in [*process.children(recursive=True), process]:
        os.kill(one.pid, signal.SIGKILL)
