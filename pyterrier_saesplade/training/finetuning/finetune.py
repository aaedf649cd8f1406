"""Fine-tuning for ranking (paper, section 3.3)."""

from __future__ import annotations

import logging
import math
from dataclasses import asdict
from hashlib import file_digest, sha256
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from pyterrier_saesplade.encoding import Encoder, pick_device, pick_dtype
from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.impacts import LatentStatistics
from pyterrier_saesplade.model import check_k, parse_model_name
from pyterrier_saesplade.training.config import FinetuneConfig
from pyterrier_saesplade.training.data import FrozenStates, RankingBatches, Source, TrainingData
from pyterrier_saesplade.training.finetuning.negatives import encode_rows, with_negatives
from pyterrier_saesplade.training.finetuning.parameters import choose_parts
from pyterrier_saesplade.training.finetuning.ranker import Ranker, spread
from pyterrier_saesplade.training.finetuning.trainer import RankingTrainer, finish
from pyterrier_saesplade.training.finetuning.validation import Validation
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
    from collections.abc import Sequence

    from transformers import TrainingArguments

    from pyterrier_saesplade.types import Precision

_log = logging.getLogger(__name__)

#: Number of passages from which the document frequencies of latents are estimated.
_IDF_PASSAGES = 20_000
#: Number of batches from which the spread of scores is estimated.
_CALIBRATION_BATCHES = 4
#: Maximum time in seconds that the other processes wait while the first one searches negatives or encodes texts.
_MAX_WAIT = 24 * 3600


def finetune(
    model: str | os.PathLike[str],
    data: TrainingData | Sequence[TrainingData],
    out: str | os.PathLike[str],
    config: FinetuneConfig | None = None,
    *,
    validation: TrainingData | None = None,
    device: str | torch.device | None = None,
    verbose: bool = False,
) -> Path:
    """Trains a model to rank, and writes the new model to a folder.

    During training the folder ``OUT.run`` holds checkpoints and everything computed before the first step. It is
    removed at the end. If the run is killed, the same call resumes it and ends with the same weights as an
    uninterrupted run. Under ``torchrun`` each process takes its share of every batch. The losses are those of the whole
    batch, except that in-batch negatives come from the same process.

    Args:
        model: Folder or hub name of an SAE-SPLADE model; or ``splade=NAME`` for a SPLADE checkpoint, or for any masked
            language model, which is then trained as one.
        data: The data to train on. Queries are taken from several data sets in turn.
        out: The folder to write. It must not exist.
        config: The settings; ``None``: the defaults, which suit a laptop.
        validation: Queries to validate with; ``None``: some queries of ``data`` (its first data set) are held out.
        device: Where to train; ``None``: the first GPU, or the CPU if there is none.
        verbose: Whether to show progress and the log.

    Returns:
        ``out``, with a model that :class:`~pyterrier_saesplade.SaeSplade` loads, ``training.json`` with the log, and a
        model card. If there were validations, it also has a figure of them, and subfolders with the models that ``use``
        did not select.

    Raises:
        PathExistsError: If ``out`` exists, or ``OUT.run`` belongs to a run with other settings.
        SettingError: If a setting cannot be used with this model, this data, this device or this number of processes.
        ModelError: If the model cannot be used.
        CollapsedError: If the model no longer retrieves.
        MissingPackageError: If the settings need a package that is not installed.
        EngineError: If a file cannot be written, for example because the disk is full.

    Examples:
        >>> config = FinetuneConfig(steps=1, batch_queries=2, nway=2)
        >>> finetune("my-model", read_labels("my-collection"), "tuned", config)
        PosixPath('tuned')
    """
    given = [data] if isinstance(data, TrainingData) else list(data)
    config = (config or FinetuneConfig()).resolved(scored=_scored(given))
    rank, processes = rank_and_processes()
    if rank:
        _log.setLevel(logging.ERROR)  # only the first process logs
    described = {"model": str(model), "data": [source.description for source in given], "processes": processes}
    described["validation"] = None if validation is None else validation.description
    if validation is not None and not config.eval_steps:
        raise SettingError("there are queries to validate with, but no validations: set eval_steps too")
    described["weights"] = _files_digest(Path(parse_model_name(model)[0]))
    run = Run(Path(out), plain(described | asdict(config)))
    finished = run.is_finished()
    if config.batch_queries % processes:
        raise SettingError(f"batch_queries must be a multiple of the {processes} processes, not {config.batch_queries}")
    dtype = _backbone_dtype(config, pick_device(device))
    arguments = training_arguments(
        config,
        run.work,
        device,
        verbose=verbose,
        bf16=dtype == torch.bfloat16,
        fp16=dtype == torch.float16,
        ddp_timeout=_MAX_WAIT,
    )
    if finished:
        wait(processes)
        if rank == 0:
            run.tidy()
        return run.out
    encoder = _open_model(str(model), config, arguments.device)
    encoder.backbone_dtype = dtype
    with run.held(rank):
        trainer = _trainer(encoder, given, validation, config, run, arguments, verbose=verbose)
        train(trainer)
        if rank == 0:
            finish(trainer, given, config, run)
        wait(processes)
    return run.out


def _trainer(
    encoder: Encoder,
    given: Sequence[TrainingData],
    validation: TrainingData | None,
    config: FinetuneConfig,
    run: Run,
    arguments: TrainingArguments,
    *,
    verbose: bool,
) -> RankingTrainer:
    """Makes the trainer. The first process computes what it needs, unless the run's folder has it already."""
    rank, processes = rank_and_processes()
    for problem in (problem for source in given for problem in source.problems):
        _log.warning("left out: %s", problem)
    with arguments.main_process_first(local=False):
        found = [_with_negatives(source, encoder, run.work / f"negatives-{i}") for i, source in enumerate(given)]
    held_out, sources = _split(found, validation, config)
    ranker = Ranker(encoder.model, config, encoder.dtype)
    with arguments.main_process_first(local=False):
        _set_query_weights(ranker, encoder, sources, config, run.work / "start.safetensors")
        if config.train == "head":
            sources = _with_states(sources, encoder, config, run.work, verbose=verbose)
        batches = _batches(sources, encoder, config)
        if config.calibrate:
            _calibrate(ranker, batches, run.work / "alpha.safetensors")
    choose_parts(encoder.model, config)
    batches = _batches(sources, encoder, config, shard=rank, shards=processes)
    trainer = RankingTrainer(
        model=ranker, args=arguments, batches=batches, encoder=encoder, validation=held_out, run=run, config=config
    )
    _log.info(
        "training on %s queries with %s passages each; %s trained parameters",
        f"{sum(len(source.numbers) for source in sources):,}",
        config.nway,
        f"{sum(parameter.numel() for parameter in ranker.parameters() if parameter.requires_grad):,}",
    )
    return trainer


def _files_digest(folder: Path) -> str:
    """Returns the SHA-256 of the weights in a folder. For a hub name it is the digest of the empty string."""
    digest = sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            digest.update(file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _scored(sources: Sequence[TrainingData]) -> bool:
    scored = {source.scored for source in sources}
    if len(scored) != 1:
        raise SettingError("give at least one data set; either all data sets must have a teacher's scores, or none")
    return scored == {True}


def _backbone_dtype(config: FinetuneConfig, device: torch.device) -> torch.dtype | None:
    """Returns the backbone's number format in training, or ``None`` if it is frozen and not run in training."""
    if config.train == "head":
        return None
    if config.precision == "float16":
        if device.type == "cpu":
            raise SettingError("precision 'float16' needs a GPU: use bfloat16, float32 or auto on the CPU")
        return torch.float16
    return pick_dtype(config.precision, device)


def _open_model(model: str, config: FinetuneConfig, device: torch.device) -> Encoder:
    """Opens the model and applies the settings that change it. A decoder that is not trained is dropped."""
    torch.manual_seed(config.seed)
    precision: Precision = "float32" if config.precision == "float32" else "auto"
    source, head = parse_model_name(model)
    if head == "mlm":
        if config.width is not None:
            raise SettingError(
                f"width ({config.width}) selects the first latents of a Matryoshka dictionary, which SPLADE does not "
                "have: leave it out"
            )
        encoder = Encoder.from_splade(source, device=device)
    else:
        encoder = Encoder.from_pretrained(model, width=config.width, device=device)
    network = encoder.model
    for name in ("k", "doc_max_length", "query_max_length", "markers", "query_marker", "doc_marker"):
        if getattr(config, name) is not None:
            setattr(network.config, name, getattr(config, name))
    check_k(network.config.k, network.config.width)
    if config.reconstruction_weight:
        network.head.dictionary  # noqa: B018 (raises an error now if the model has no decoder)
    else:
        network.head.W_dec, network.config.decoder = None, False
    if config.alpha is not None:
        network.alpha.data.fill_(config.alpha)
    if config.dropout is not None:
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.p = config.dropout
    return Encoder(network, encoder.tokenizer, device=device, precision=precision)


def _with_negatives(data: TrainingData, encoder: Encoder, folder: Path) -> TrainingData:
    if data.has_negatives:
        return data
    _log.info("searching for negatives of %s queries among %s passages", f"{len(data):,}", f"{len(data.passages):,}")
    return with_negatives(data, encoder, folder)


def _split(
    found: Sequence[TrainingData], validation: TrainingData | None, config: FinetuneConfig
) -> tuple[Validation | None, list[Source]]:
    """Returns the validation, and the examples that remain to be trained on."""
    numbers = [data.numbers(config.nway) for data in found]
    for data, chosen in zip(found, numbers, strict=True):
        if not len(chosen):
            raise SettingError(
                f"no query has nway ({config.nway}) passages including a positive: lower nway, or give more passages"
            )
        if len(chosen) < len(data):
            short = np.setdiff1d(np.arange(len(data)), chosen)
            (query,) = data.queries.texts([data[short[0]].query])
            text = f"{len(short):,} queries with fewer than nway ({config.nway}) passages, such as {query!r}"
            if data.on_error == "raise":
                raise SettingError(f"there are {text}")
            _log.warning("left out: %s", text)
    held_out = None
    if config.eval_steps and validation is not None:
        held_out = Validation.of(validation, np.arange(len(validation)), config.eval_pool, config.seed)
    elif config.eval_steps:
        query_rows = found[0].query_rows()[numbers[0]]
        queries = np.random.default_rng(config.seed).permutation(np.unique(query_rows))
        count = min(config.eval_queries, len(queries) // 10)
        if not count:
            raise SettingError(
                f"{len(queries)} queries are too few to hold out a tenth of them: give other queries to validate with"
            )
        is_held_out = np.isin(query_rows, queries[:count])
        held_out = Validation.of(found[0], numbers[0][is_held_out], config.eval_pool, config.seed)
        numbers[0] = numbers[0][~is_held_out]
    return held_out, [Source(data, chosen) for data, chosen in zip(found, numbers, strict=True)]


def _set_query_weights(
    ranker: Ranker, encoder: Encoder, sources: Sequence[Source], config: FinetuneConfig, path: Path
) -> None:
    """Initialises the model's query weights. From now on its queries are no longer multiplied by an index's idf."""
    network = encoder.model
    if config.query_weights != "none" and network.query_weights is None:
        if not path.exists():
            save_tensors({"query_weights": _idf(encoder, sources, config.seed)}, path)
        network.query_weights = nn.Parameter(load_file(path)["query_weights"].to(network.device))
        network.config.query_weights = True
    network.config.weighting = "none"


def _idf(encoder: Encoder, sources: Sequence[Source], seed: int) -> torch.Tensor:
    statistics = LatentStatistics.empty(encoder.config.width)
    for source in sources:
        passages = source.data.passages
        chosen = np.random.default_rng(seed).permutation(len(passages))[: _IDF_PASSAGES // len(sources)]
        statistics.update(encode_rows(encoder, passages, chosen.tolist(), "doc"))
    return torch.from_numpy(statistics.idf())


def _with_states(
    sources: Sequence[Source], encoder: Encoder, config: FinetuneConfig, work: Path, *, verbose: bool
) -> list[Source]:
    """Returns the sources with the token states of all their texts."""
    allowed = config.states_gigabytes * 1e9 / len(sources)
    with_states = []
    for i, source in enumerate(sources):
        examples = [source.data[number] for number in source.numbers]
        queries = np.unique([example.query for example in examples])
        passages = np.unique(np.concatenate([example.passages for example in examples]))
        states = FrozenStates.encode(
            work / f"states-{i}",
            encoder,
            {"query": (source.data.queries, queries), "doc": (source.data.passages, passages)},
            max_bytes=allowed,
            verbose=verbose,
        )
        with_states.append(source._replace(states=states))
    return with_states


def _batches(
    sources: Sequence[Source], encoder: Encoder, config: FinetuneConfig, shard: int = 0, shards: int = 1
) -> RankingBatches:
    return RankingBatches(
        sources,
        encoder.tokenize,
        nway=config.nway,
        batch=config.batch_queries,
        group_tokens=config.batch_tokens,
        seed=config.seed,
        pad_id=encoder.tokenizer.pad_token_id or 0,
        shard=shard,
        shards=shards,
    )


@torch.no_grad()
def _calibrate(ranker: Ranker, batches: RankingBatches, path: Path) -> None:
    """Sets ``alpha`` so that a query's scores spread as the teacher's do. Scores are proportional to its square."""
    alpha = ranker.model.alpha
    if not path.exists():
        ranker.train(False)
        found, wanted = [], []
        for number in range(_CALIBRATION_BATCHES):
            batch = _to_device(batches[number], alpha.device)
            teacher = batch.pop("teacher", None)
            found.append(ranker.spread(**batch))
            wanted.append(1.0 if teacher is None else float(spread(teacher)))
        own, target = fmean(found), fmean(wanted)
        if not own > 0:
            raise SettingError(
                "all passages of a query have the same score: use another model, or set calibrate to false"
            )
        calibrated = float(alpha) * math.sqrt(target / own)
        _log.info("standard deviation of scores: %.3g, target: %.3g; alpha is now %.3g", own, target, calibrated)
        save_tensors({"alpha": torch.tensor(calibrated)}, path)
    alpha.copy_(load_file(path)["alpha"])


def _to_device(value: Any, device: torch.device) -> Any:
    """Moves the tensors inside a batch to a device."""
    if isinstance(value, dict):
        return {name: _to_device(part, device) for name, part in value.items()}
    if isinstance(value, list):
        return [_to_device(part, device) for part in value]
    return value.to(device) if isinstance(value, torch.Tensor) else value
