"""The stream of token states: complete, shuffled, and the same after every restart."""

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoTokenizer

from pyterrier_saesplade.encoding import Encoder
from pyterrier_saesplade.errors import DataError
from pyterrier_saesplade.model import SaeSpladeModel
from pyterrier_saesplade.training.pretraining.states import StateBatches
from pyterrier_saesplade.training.pretraining.texts import open_texts, spool_texts
from pyterrier_saesplade.types import Side


@pytest.fixture(scope="module")
def texts(documents: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return spool_texts(iter(documents[:60]), tmp_path_factory.mktemp("texts") / "texts.arrow")


def stream(texts: Dataset, encoder: Encoder, folder: Path, **options: object) -> StateBatches:
    settings = {"batch": 64, "by_document": False, "max_rows": 10**6, "seed": 1} | options
    return StateBatches(texts, encoder, folder, **settings)


def take(batches: StateBatches, count: int) -> list[torch.Tensor]:
    return [batch["states"] for batch in itertools.islice(batches, count)]


def rows(states: list[torch.Tensor]) -> list[bytes]:
    return sorted(row.contiguous().view(torch.uint8).numpy().tobytes() for row in torch.cat(states))


def test_a_pass_gives_every_state_once_and_the_next_in_another_order(
    texts: Dataset, encoder: Encoder, tmp_path: Path
) -> None:
    batches = stream(texts, encoder, tmp_path, batch=1)
    everything, bounds = batches.sample(10**6)
    count = len(everything)
    assert len(bounds) == 61
    expected = sum(len(ids) for ids in encoder.tokenize(texts["text"], "doc"))
    assert count == expected
    first, second = (list(batches_) for batches_ in (take(batches, count), take(batches, 2 * count)[count:]))
    assert rows(first) == rows(second) == rows([everything])
    assert not torch.equal(torch.cat(first), torch.cat(second))


def test_states_are_the_encoders(texts: Dataset, encoder: Encoder, tmp_path: Path) -> None:
    states, _ = stream(texts, encoder, tmp_path).sample(60)
    direct = torch.cat([encoder.token_states([ids]) for ids in encoder.tokenize(texts["text"], "doc")])
    assert_among(direct, states)


@pytest.mark.parametrize(
    "options", [{}, {"max_rows": 500}, {"by_document": True, "batch": 7}, {"shard": 1, "shards": 2}]
)
def test_a_later_start_gives_the_same_batches(
    texts: Dataset, encoder: Encoder, tmp_path: Path, options: dict[str, object]
) -> None:
    expected = take(stream(texts, encoder, tmp_path / "a", **options), 40)
    for start in (1, 13, 39):
        for folder in ("a", f"fresh-{start}"):  # with and without the blocks of the earlier run
            later = stream(texts, encoder, tmp_path / folder, **options)
            later.start = start
            assert all(torch.equal(a, b) for a, b in zip(take(later, 40 - start), expected[start:], strict=True))


@pytest.mark.slow
def test_a_corpus_beyond_the_disk_allowed_is_encoded_in_parts(
    documents: list[dict[str, str]], encoder: Encoder, tmp_path: Path
) -> None:
    many = spool_texts(documents * 8, tmp_path / "texts.arrow")
    batches = stream(many, encoder, tmp_path / "blocks", max_rows=1000, batch=512)
    seen = take(batches, 100)
    files = list((tmp_path / "blocks").glob("*.states"))
    assert len(files) == 1, "an old block stayed on disk"
    window = 512 * 32
    assert files[0].stat().st_size <= (1000 + window) * 2 * 128
    assert len({batch.double().sum().item() for batch in seen}) == 100


@pytest.mark.slow
def test_a_block_cut_off_in_the_middle_is_finished_with_the_same_bytes(
    documents: list[dict[str, str]], encoder: Encoder, tmp_path: Path
) -> None:
    many = spool_texts(documents * 4, tmp_path / "texts.arrow")
    whole = stream(many, encoder, tmp_path / "whole")
    list(itertools.islice(whole, 1))
    interrupted = stream(many, encoder, tmp_path / "cut")
    progress = json.loads((tmp_path / "whole" / "block-0.json").read_text())
    assert progress["complete"]
    from pyterrier_saesplade.training.pretraining import states

    first = interrupted._extend(states._Progress(0, 0))
    assert not first.complete
    with (tmp_path / "cut" / "block-0.states").open("ab") as file:
        file.write(b"half a window, then the power failed")
    list(itertools.islice(stream(many, encoder, tmp_path / "cut"), 1))
    for name in ("block-0.states", "block-0.lengths", "block-0.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()


def test_queries_are_cut_and_marked_as_queries(
    documents: list[dict[str, str]], splade_path: Path, tmp_path: Path
) -> None:
    """The states of queries are those of the encoder for queries, and empty queries are left out."""
    torch.manual_seed(0)
    model = SaeSpladeModel.from_backbone(
        splade_path, width=64, k=4, markers=True, doc_max_length=32, query_max_length=8, decoder=True
    )
    encoder = Encoder(model, AutoTokenizer.from_pretrained(splade_path), precision="float32")
    queries = ["measurement of the dielectric constant of liquids by microwaves", " ", "noise in transistors"]
    mixed = spool_texts(documents[:5], tmp_path / "texts.arrow", queries)
    assert mixed["query"][:] == [False] * 5 + [True] * 2
    states, bounds = stream(mixed, encoder, tmp_path / "states").sample(7)

    def states_of(texts: list[str], side: Side) -> list[torch.Tensor]:
        return [encoder.token_states([ids]) for ids in encoder.tokenize(texts, side) if ids]

    of_queries = states_of(queries, "query")
    expected = [*states_of([document["text"] for document in documents[:5]], "doc"), *of_queries]
    assert len(of_queries[0]) == 8
    assert sorted(np.diff(bounds).tolist()) == sorted(map(len, expected))
    assert_among(torch.cat(expected), states)
    with pytest.raises(AssertionError):  # otherwise the test would be blind
        assert_among(torch.cat(states_of(queries, "doc")), states)


def assert_among(states: torch.Tensor, stored: torch.Tensor) -> None:
    """Each state is stored, as exact as bfloat16 is."""
    nearest = torch.cdist(states, stored.float()).amin(1)
    assert (nearest <= 2**-7 * states.norm(dim=1)).all()


def test_batches_of_documents_hold_whole_documents(texts: Dataset, encoder: Encoder, tmp_path: Path) -> None:
    batches = stream(texts, encoder, tmp_path, by_document=True, batch=10)
    everything, _ = batches.sample(60)
    assert rows(take(batches, 6)) == rows([everything])


@pytest.mark.parametrize("by_document", [False, True])
def test_a_corpus_smaller_than_a_batch_is_repeated(
    texts: Dataset, encoder: Encoder, tmp_path: Path, by_document: bool
) -> None:
    tiny = texts.select([0, 1])
    batches = stream(tiny, encoder, tmp_path, batch=100, by_document=by_document)
    everything, _ = batches.sample(2)
    first, second = take(batches, 2)
    assert set(rows([first])) == set(rows([second])) == set(rows([everything]))
    assert len(first) == 100 or by_document


def test_shards_share_the_corpus_out(texts: Dataset, encoder: Encoder, tmp_path: Path) -> None:
    parts = [stream(texts, encoder, tmp_path / str(i), shard=i, shards=3).sample(60)[0] for i in range(3)]
    whole, _ = stream(texts, encoder, tmp_path / "all").sample(60)
    assert sum(map(len, parts)) == len(whole)


def test_texts_are_kept_without_the_empty_ones(tmp_path: Path) -> None:
    texts = spool_texts(
        ({"docno": str(i), "text": text} for i, text in enumerate(["a", "", None, " ", "b"])), tmp_path / "t"
    )
    assert texts["text"][:] == ["a", "b"]
    assert open_texts(tmp_path / "t")["text"][:] == ["a", "b"]
    assert spool_texts([{"text": "a"}, {"text": "b"}], tmp_path / "t")["text"][:] == ["a", "b"]
    with pytest.raises(DataError, match=re.escape(str(tmp_path))):
        spool_texts([{"text": "a"}, {"text": "c"}], tmp_path / "t")


def test_a_corpus_without_texts(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\b2\b.*'text'.*\bdocno, body\b"):
        spool_texts([{"docno": "1", "text": "a"}, {"docno": "2", "body": "b"}], tmp_path / "t")
    with pytest.raises(DataError, match="corpus"):
        spool_texts([{"docno": "1", "text": ""}], tmp_path / "u")
    assert not (tmp_path / "t").exists()
    assert not (tmp_path / "u").exists()
