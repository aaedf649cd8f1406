"""Pre-training of the SAE on a corpus, without labels (paper, section 3.1)."""

from __future__ import annotations

import json
import logging
import os
import shutil
import string
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from torch import Tensor, distributed
from transformers import AutoTokenizer, PrinterCallback, ProgressCallback, TrainerState, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from pyterrier_saesplade.encoding.encoder import BATCH_TOKENS, Encoder, token_batches
from pyterrier_saesplade.encoding.precision import pick_device
from pyterrier_saesplade.encoding.quiet import quiet_transformers
from pyterrier_saesplade.files import claim, claimed_settings, written_beside
from pyterrier_saesplade.model import SaeSpladeModel
from pyterrier_saesplade.training.autoencoder import SparseAutoencoder, initialise_from_data
from pyterrier_saesplade.training.config import PretrainConfig
from pyterrier_saesplade.training.states import StateBatches
from pyterrier_saesplade.training.texts import open_texts, spool_texts
from pyterrier_saesplade.training.trainer import SAMPLE_DOCUMENTS, AutoencoderTrainer, ShortProgress

_log = logging.getLogger(__name__)

#: Token states from which a dictionary is drawn, at least.
_INIT_ROWS = 2**18
#: What the paper's scripts estimate the input normalisation from.
_NORM_DOCUMENTS = 8192
_NORM_LENGTH = 180


def pretrain(
    backbone: str | os.PathLike[str],
    documents: Iterable[Mapping[str, Any]],
    out: str | os.PathLike[str],
    config: PretrainConfig | None = None,
    *,
    device: str | torch.device | None = None,
    verbose: bool = False,
) -> Path:
    """Learns a vocabulary of latents from a corpus, without a label, and writes the model to a folder.

    While it works, texts, token states and checkpoints lie in the folder ``OUT.run``, which is removed at the end. If
    the run is killed, the same call goes on from there, and ends with the same weights as if it had not been. Under
    ``torchrun`` every process takes its share of the corpus and of the batch.

    Args:
        backbone: Hub name or folder of any encoder that ``AutoModel`` loads; it is not changed.
        documents: The corpus: PyTerrier documents (``docno``, ``text``). Read once, front to back; when a run goes on,
            only to see that it is the same corpus.
        out: The folder to write; it must not exist.
        config: The settings; ``None``: those for a laptop.
        device: Where to train; ``None``: the first GPU, else the CPU.
        verbose: Whether to show progress and the log.

    Returns:
        ``out``: a model that :class:`~pyterrier_saesplade.SaeSplade` loads, and ``training.json`` with the log.

    Raises:
        FileExistsError: If ``out`` exists, or ``OUT.run`` belongs to a run with other settings.
        ValueError: If the corpus or a setting cannot be used, or ``OUT.run`` belongs to a run on another corpus.
    """
    config = config or PretrainConfig()
    out, work = Path(out), Path(f"{out}.run")
    rank, processes = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    settings = {"backbone": str(backbone), "processes": processes} | asdict(config)
    finished = out.exists() and claimed_settings(work) == settings
    if out.exists() and not finished:
        raise FileExistsError(f"{out} exists: remove it, or choose another folder for the model")
    per_process = (config.batch_documents or config.batch_tokens) // processes
    if per_process < 1:
        raise ValueError(
            f"a batch of {config.batch_documents or config.batch_tokens} is too small for {processes} processes"
        )
    if device is not None and pick_device(device).index:
        raise ValueError(f"training takes the first GPU that it sees: set CUDA_VISIBLE_DEVICES in place of {device}")
    arguments = _training_arguments(config, work, device, processes, verbose)
    if finished:
        # It was stopped between writing the model and tidying up.
        _wait(processes)
        if rank == 0:
            _remove(work)
        return out
    encoder = _untrained(backbone, config, arguments.device)
    if rank == 0:
        claim(work, settings)
        spool_texts(documents, work / "texts.arrow")
        _remove_broken_checkpoints(work / "checkpoints")
    _wait(processes)
    texts = open_texts(work / "texts.arrow")
    if len(texts) < processes:
        raise ValueError(f"{len(texts)} documents cannot be shared out to {processes} processes")
    if config.input_norm:
        _fit_input_norm(encoder, texts, config.seed, work / f"input-norm-{rank}.safetensors")
    # Never more states than the run will use, of a corpus that offers more.
    needed = None if config.batch_documents else config.steps * per_process
    allowed = int(config.states_gigabytes * 1e9 / processes) // (2 * encoder.model.head.W_enc.shape[1])
    batches = StateBatches(
        texts,
        encoder,
        work / f"states-{rank}",
        batch=per_process,
        by_document=config.batch_documents is not None,
        max_rows=min(allowed, needed or allowed),
        seed=config.seed,
        shard=rank,
        shards=processes,
        verbose=verbose and rank == 0,
    )
    sample = _sample(batches, work / f"sample-{rank}.safetensors")
    if config.init == "data" and get_last_checkpoint(arguments.output_dir) is None:
        generator = torch.Generator().manual_seed(config.seed)
        initialise_from_data(encoder.model.head, batches.rows(max(_INIT_ROWS, config.width)), generator)
    log = _train(_autoencoder(encoder, config), batches, sample, arguments)
    if rank == 0:
        _finish(encoder, log, config, work, out)
    _wait(processes)
    return out


def _training_arguments(
    config: PretrainConfig, work: Path, device: str | torch.device | None, processes: int, verbose: bool
) -> TrainingArguments:
    arguments = TrainingArguments(
        output_dir=str(work / "checkpoints"),
        max_steps=config.steps,
        learning_rate=config.learning_rate,
        lr_scheduler_type="linear" if config.schedule == "linear" else "constant_with_warmup",
        warmup_steps=config.warmup_steps,
        adam_epsilon=config.adam_epsilon,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        optim="adamw_torch_fused",
        seed=config.seed,
        logging_steps=config.log_steps,
        eval_strategy="steps" if config.eval_steps else "no",
        eval_steps=config.eval_steps or None,
        save_steps=config.save_steps,
        save_total_limit=2,
        # The stream of batches finds its place by itself.
        ignore_data_skip=True,
        remove_unused_columns=False,
        report_to="none",
        use_cpu=torch.device(device).type == "cpu" if device else not torch.cuda.is_available(),
        ddp_backend="gloo" if processes > 1 and not torch.cuda.is_available() else None,
        ddp_find_unused_parameters=False,
        disable_tqdm=not verbose,
    )
    # One GPU to a process: the Trainer would spread a single process over all GPUs by DataParallel.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def _remove(work: Path) -> None:
    """Removes the folder of a run; it is renamed first, so that no half of it is ever taken for a run."""
    trash = work.with_name(f".{work.name}.{os.getpid()}.removed")
    os.replace(work, trash)
    shutil.rmtree(trash)


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
            doc_max_length=config.doc_max_length,
            query_max_length=config.query_max_length,
            input_norm=config.input_norm,
            decoder=True,
            weighting="idf",
        )
        tokenizer = AutoTokenizer.from_pretrained(backbone)
    encoder = Encoder(model, tokenizer, device=device, precision=config.precision)
    # States are kept in bfloat16 in any case, so the backbone need not be more exact.
    encoder.backbone_dtype = encoder.dtype
    return encoder


def _autoencoder(encoder: Encoder, config: PretrainConfig) -> SparseAutoencoder:
    encoder.model.requires_grad_(False)
    encoder.model.head.requires_grad_(True)
    tokens = config.steps * config.batch_tokens
    return SparseAutoencoder(
        encoder.model.head,
        config.k,
        aux_weight=config.aux_weight,
        dead_after=config.dead_after if config.batch_documents else min(config.dead_after, tokens // 10),
        dtype=encoder.dtype,
    )


def _train(
    autoencoder: SparseAutoencoder,
    batches: StateBatches,
    sample: tuple[Tensor, list[int]],
    arguments: TrainingArguments,
) -> list[dict[str, float]]:
    trainer = AutoencoderTrainer(model=autoencoder, args=arguments, batches=batches, sample=sample)
    trainer.remove_callback(PrinterCallback if arguments.disable_tqdm else ProgressCallback)
    if not arguments.disable_tqdm:
        trainer.add_callback(ShortProgress)
    checkpoint = get_last_checkpoint(arguments.output_dir)
    if checkpoint is not None:
        trainer.state = TrainerState.load_from_json(str(Path(checkpoint) / "trainer_state.json"))
        batches.start = trainer.state.global_step
    if checkpoint is not None and batches.start >= arguments.max_steps:
        # All steps are done; the Trainer would take one more.
        autoencoder.load_state_dict(load_file(Path(checkpoint) / "model.safetensors"))
    else:
        trainer.train(resume_from_checkpoint=checkpoint)
    if arguments.eval_strategy == "no":
        trainer.evaluate()
    return trainer.state.log_history


def _remove_broken_checkpoints(folder: Path) -> None:
    """Removes checkpoints that were not written to their end: the Trainer writes ``trainer_state.json`` last."""
    folder.mkdir(exist_ok=True)
    for path in folder.glob("checkpoint-*"):
        try:
            json.loads((path / "trainer_state.json").read_text())
        except (OSError, ValueError):
            shutil.rmtree(path)


def _sample(batches: StateBatches, path: Path) -> tuple[Tensor, list[int]]:
    """Returns the token states of some documents, the same after a restart that finds their block gone."""
    if not path.exists():
        states, bounds = batches.sample(SAMPLE_DOCUMENTS)
        _save_tensors({"states": states, "bounds": torch.tensor(bounds)}, path)
    tensors = load_file(path)
    return tensors["states"], tensors["bounds"].tolist()


def _fit_input_norm(encoder: Encoder, texts: Dataset, seed: int, path: Path) -> None:
    """Puts the mean state and the mean distance from it into the model, estimated as the paper's scripts do."""
    if not path.exists():
        chosen = np.random.default_rng(seed).permutation(len(texts))[:_NORM_DOCUMENTS]
        documents = texts[chosen]["text"]
        count, total = 0, torch.zeros(())
        for states in _word_states(encoder, documents):
            count, total = count + len(states), total + states.sum(0)
        mean = total / count
        distance = sum(float((states - mean).norm(dim=1).sum()) for states in _word_states(encoder, documents))
        _save_tensors({"mean_bias": mean, "mean_norm": torch.tensor(distance / count)}, path)
    encoder.model.load_state_dict(load_file(path), strict=False)


def _word_states(encoder: Encoder, documents: list[str]) -> Iterator[Tensor]:
    """Yields the token states of documents, batch after batch, without those of punctuation."""
    pieces = encoder.tokenizer.convert_ids_to_tokens(list(range(len(encoder.tokenizer))))
    is_word = torch.tensor([any(character not in string.punctuation for character in piece) for piece in pieces])
    ids = [
        tokens for tokens in encoder.tokenize(documents, "doc", min(_NORM_LENGTH, encoder.tokenize.longest)) if tokens
    ]
    for batch in token_batches(np.array([len(tokens) for tokens in ids]), BATCH_TOKENS):
        chosen = [ids[i] for i in batch]
        states = encoder.token_states(chosen).float().cpu()
        yield states[is_word[torch.tensor([piece for tokens in chosen for piece in tokens])]]


def _finish(encoder: Encoder, log: list[dict[str, float]], config: PretrainConfig, work: Path, out: Path) -> None:
    partial = work / "model"
    encoder.save_pretrained(partial)
    (partial / "training.json").write_text(json.dumps({"settings": asdict(config), "log": log}, indent=1))
    os.replace(partial, out)
    _remove(work)
    final = next(entry for entry in reversed(log) if "eval_fvu" in entry)
    active = final["eval_latents_df_2"] / config.width
    _log.info("%s: variance unexplained %.3f, latents in use %.0f %%", out, final["eval_fvu"], 100 * active)


def _save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    with written_beside(path) as partial:
        save_file(tensors, partial)


def _wait(processes: int) -> None:
    if processes > 1:
        distributed.barrier()
