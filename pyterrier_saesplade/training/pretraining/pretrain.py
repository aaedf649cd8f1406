"""Pre-training of the SAE on a corpus, without labels (paper, section 3.1)."""

from __future__ import annotations

import json
import logging
import string
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoTokenizer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from pyterrier_saesplade.collections import key
from pyterrier_saesplade.encoding import BATCH_TOKENS, Encoder, quiet_transformers, token_batches
from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.model import SaeSpladeModel
from pyterrier_saesplade.training.card import write_card
from pyterrier_saesplade.training.config import PretrainConfig
from pyterrier_saesplade.training.pretraining.autoencoder import SparseAutoencoder, initialise_from_data
from pyterrier_saesplade.training.pretraining.states import StateBatches
from pyterrier_saesplade.training.pretraining.texts import open_texts, spool_texts
from pyterrier_saesplade.training.pretraining.trainer import SAMPLE_DOCUMENTS, AutoencoderTrainer
from pyterrier_saesplade.training.workdir import (
    Run,
    plain,
    rank_and_processes,
    save_tensors,
    train,
    training_arguments,
    wait,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping

    from pyterrier_saesplade.training.extra import Dataset

_log = logging.getLogger(__name__)

#: Minimum number of token states from which the rows of a dictionary are drawn, if the corpus has as many.
_INIT_ROWS = 2**18
#: Number of documents, and word pieces per document, from which the paper's scripts estimate the input normalisation.
_NORM_DOCUMENTS = 8192
_NORM_LENGTH = 180


def pretrain(
    backbone: str | os.PathLike[str],
    documents: Iterable[Mapping[str, Any]],
    out: str | os.PathLike[str],
    config: PretrainConfig | None = None,
    *,
    queries: Iterable[str] = (),
    device: str | torch.device | None = None,
    verbose: bool = False,
) -> Path:
    """Learns a vocabulary of latents from a corpus without labels, and writes the model to a folder.

    During training the folder ``OUT.run`` holds texts, token states and checkpoints. It is removed at the end. If the
    run is killed, the same call resumes it and ends with the same weights as an uninterrupted run. Under ``torchrun``
    each process takes its share of the corpus and of every batch.

    Args:
        backbone: Hub name or folder of any encoder that ``AutoModel`` loads. It is not changed.
        documents: The corpus: PyTerrier documents (``docno``, ``text``). It is read once, from start to end. A resumed
            run only reads the beginning, to check that it is the same corpus.
        out: The folder to write. It must not exist.
        config: The settings; ``None``: the defaults, which suit a laptop.
        queries: Texts of queries, which are mixed with the documents in proportion to their number.
        device: Where to train; ``None``: the first GPU, or the CPU if there is none.
        verbose: Whether to show progress and the log.

    Returns:
        ``out``, with a model that :class:`~pyterrier_saesplade.SaeSplade` loads, ``training.json`` with the log, and a
        model card.

    Raises:
        PathNotFoundError: If there is no such backbone.
        PathExistsError: If ``out`` exists, or ``OUT.run`` belongs to a run with other settings.
        SettingError: If a setting cannot be used with this backbone, this device or this number of processes.
        DataError: If the corpus cannot be used, or ``OUT.run`` belongs to a run on another corpus.
        EngineError: If a file cannot be written, for example because the disk is full.

    Examples:
        >>> config = PretrainConfig(width=256, k=4, steps=1, save_steps=1)
        >>> pretrain("distilbert-base-uncased", documents, "sae", config)
        PosixPath('sae')
    """
    config = config or PretrainConfig()
    rank, processes = rank_and_processes()
    queries = list(queries)
    described = {"backbone": str(backbone), "processes": processes, "queries": key("\n".join(queries))}
    run = Run(Path(out), plain(described | asdict(config)))
    finished = run.is_finished()
    if _batch(config) < processes:
        raise SettingError(f"a batch of {_batch(config)} is too small for {processes} processes")
    arguments = training_arguments(config, run.work, device, verbose=verbose)
    if finished:
        wait(processes)
        if rank == 0:
            run.tidy()
        return run.out
    encoder = _untrained(backbone, config, arguments.device)
    with run.held(rank):
        if rank == 0:
            spool_texts(documents, run.work / "texts.arrow", queries)
        wait(processes)
        trainer = _trainer(encoder, config, run, arguments, verbose=verbose)
        if config.steps:
            train(trainer)
        if not config.eval_steps:
            trainer.evaluate()
        if rank == 0:
            _finish(encoder, trainer.state.log_history, config, run)
        wait(processes)
    return run.out


def _trainer(
    encoder: Encoder, config: PretrainConfig, run: Run, arguments: TrainingArguments, *, verbose: bool
) -> AutoencoderTrainer:
    """Makes the trainer, with this process's share of the token states and the initial weights of the SAE."""
    rank, processes = rank_and_processes()
    per_process = _batch(config) // processes
    texts = open_texts(run.work / "texts.arrow")
    if len(texts) < processes:
        raise SettingError(f"{len(texts)} documents cannot be shared among {processes} processes")
    if config.input_norm:
        _fit_input_norm(encoder, texts, config.seed, run.work / f"input-norm-{rank}.safetensors")
    # A large corpus may offer more states than the run uses: encode only as many as needed.
    needed = None if config.batch_documents else max(1, config.steps) * per_process
    allowed = int(config.states_gigabytes * 1e9 / processes) // (2 * encoder.model.head.W_enc.shape[1])
    batches = StateBatches(
        texts,
        encoder,
        run.work / f"states-{rank}",
        batch=per_process,
        by_document=config.batch_documents is not None,
        max_rows=min(allowed, needed or allowed),
        seed=config.seed,
        shard=rank,
        shards=processes,
        verbose=verbose and rank == 0,
    )
    sample = _sample(batches, run.work / f"sample-{rank}.safetensors")
    if config.init == "data" and get_last_checkpoint(arguments.output_dir) is None:
        generator = torch.Generator().manual_seed(config.seed)
        initialise_from_data(encoder.model.head, batches.rows(max(_INIT_ROWS, config.width)), generator)
    return AutoencoderTrainer(model=_autoencoder(encoder, config), args=arguments, batches=batches, sample=sample)


def _batch(config: PretrainConfig) -> int:
    return config.batch_documents or config.batch_tokens


def _untrained(backbone: str | os.PathLike[str], config: PretrainConfig, device: torch.device) -> Encoder:
    torch.manual_seed(config.seed)
    with quiet_transformers():
        model = SaeSpladeModel.from_backbone(
            backbone,
            layer=config.layer,
            width=config.width,
            k_sae=config.k,
            k=config.k,
            markers=config.markers,
            query_marker=config.query_marker,
            doc_marker=config.doc_marker,
            doc_max_length=config.doc_max_length,
            query_max_length=config.query_max_length,
            input_norm=config.input_norm,
            decoder=True,
            weighting="idf",
        )
        tokenizer = AutoTokenizer.from_pretrained(backbone)
    encoder = Encoder(model, tokenizer, device=device, precision=config.precision)
    # States are stored in bfloat16 in any case, so the backbone need not be more precise.
    encoder.backbone_dtype = encoder.dtype
    return encoder


def _autoencoder(encoder: Encoder, config: PretrainConfig) -> SparseAutoencoder:
    encoder.model.requires_grad_(False)
    encoder.model.head.requires_grad_(True)
    tokens = config.steps * config.batch_tokens
    dead_after = config.dead_after if config.batch_documents else min(config.dead_after, tokens // 10)
    return SparseAutoencoder(encoder.model.head, config, dead_after=max(1, dead_after), dtype=encoder.dtype)


def _sample(batches: StateBatches, path: Path) -> tuple[Tensor, list[int]]:
    """Returns the token states of some documents and their bounds, which are saved: their block may be replaced."""
    if not path.exists():
        states, bounds = batches.sample(SAMPLE_DOCUMENTS)
        save_tensors({"states": states, "bounds": torch.tensor(bounds)}, path)
    tensors = load_file(path)
    return tensors["states"], tensors["bounds"].tolist()


def _fit_input_norm(encoder: Encoder, texts: Dataset, seed: int, path: Path) -> None:
    """Sets the model's mean state and mean distance from it, estimated as in the paper's scripts."""
    if not path.exists():
        chosen = np.random.default_rng(seed).permutation(len(texts))[:_NORM_DOCUMENTS]
        documents = texts[chosen]["text"]
        count, total = 0, torch.zeros(())
        for states in _word_states(encoder, documents):
            count, total = count + len(states), total + states.sum(0)
        mean = total / count
        distance = sum(float((states - mean).norm(dim=1).sum()) for states in _word_states(encoder, documents))
        save_tensors({"mean_bias": mean, "mean_norm": torch.tensor(distance / count)}, path)
    encoder.model.load_state_dict(load_file(path), strict=False)


def _word_states(encoder: Encoder, documents: list[str]) -> Iterator[Tensor]:
    """Yields batches of the documents' token states, without the states of punctuation."""
    pieces = encoder.tokenizer.convert_ids_to_tokens(list(range(len(encoder.tokenizer))))
    is_word = torch.tensor([any(character not in string.punctuation for character in piece) for piece in pieces])
    ids = [
        tokens for tokens in encoder.tokenize(documents, "doc", min(_NORM_LENGTH, encoder.tokenize.longest)) if tokens
    ]
    for batch in token_batches(np.array([len(tokens) for tokens in ids]), BATCH_TOKENS):
        chosen = [ids[i] for i in batch]
        states = encoder.token_states(chosen).float().cpu()
        yield states[is_word[torch.tensor([piece for tokens in chosen for piece in tokens])]]


def _finish(encoder: Encoder, log: list[dict[str, float]], config: PretrainConfig, run: Run) -> None:
    model = run.work / "model"
    encoder.save_pretrained(model)
    (model / "training.json").write_text(json.dumps({"settings": asdict(config), "log": log}, indent=1))
    write_card(model, run.settings, log, name=run.out.name)
    run.finish(model)
    final = next(entry for entry in reversed(log) if "eval_fvu" in entry)
    active = final["eval_latents_df_2"] / config.width
    _log.info("%s: variance unexplained %.3f, latents in use %.0f %%", run.out, final["eval_fvu"], 100 * active)
