"""The model card: the data, the settings, the measures and the use of a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import ModelCard, ModelCardData

from pyterrier_saesplade.model import SaeSpladeConfig

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_USE = """```python
from pyterrier_saesplade import SaeSplade

model = SaeSplade.from_pretrained("{name}")
index = model.indexer("concepts.index").index(dataset.get_corpus_iter())
model.retriever(index).search("a query")
```"""


def write_card(folder: Path, settings: Mapping[str, Any], log: Sequence[Mapping[str, Any]], name: str) -> None:
    """Writes a model's ``README.md``.

    Args:
        folder: The model's folder.
        settings: The settings of the run, with the initial model or backbone and the data.
        log: The log of the training.
        name: The model's name.
    """
    config = SaeSpladeConfig.from_pretrained(folder)
    hub_name = None if Path(config.backbone).is_absolute() else config.backbone
    licence = _licence(config.backbone)
    data = ModelCardData(
        base_model=hub_name,
        license=licence,
        tags=["sparse-encoder", "splade", "sae-splade", "information-retrieval", "pyterrier"],
    )
    stated = (
        f"`{licence}`, according to its card" if licence else "unknown when this model was trained: see its publisher"
    )
    sections = [
        f"# {name}",
        _description(config),
        "## Use",
        _USE.format(name=name),
        "## Data",
        _data(settings),
        "## Measures",
        _measures(log),
        "## Settings",
        f"```json\n{json.dumps(dict(settings), indent=1)}\n```",
        "## Licence",
        f"The backbone, `{config.backbone}`: {stated}. The data: {_data_licences(settings)}. The weights of this model "
        "derive from both, so their licences may apply to it.",
        "## Method",
        "Zong, Vast, Van Cooten, Soulier and Piwowarski, *From Tokens to Concepts: Leveraging SAE for SPLADE*, SIGIR "
        "2026 ([arXiv 2604.21511](https://arxiv.org/abs/2604.21511)).",
    ]
    text = f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(sections) + "\n"
    (folder / "README.md").write_text(text, encoding="utf-8")


def _description(config: SaeSpladeConfig) -> str:
    every = not config.k or config.k >= config.width
    kept = "all activations of each token" if every else f"the {config.k} strongest activations of each token"
    terms = "latents of a sparse autoencoder" if config.head == "sae" else "word pieces"
    return (
        f"A learned sparse retriever over {config.width:,} {terms}, made with `pyterrier_saesplade` from "
        f"`{config.backbone}` (layer {config.layer}). It keeps {kept}. Documents are truncated to "
        f"{config.doc_max_length} word pieces, queries to {config.query_max_length}."
    )


def _data(settings: Mapping[str, Any]) -> str:
    if "data" not in settings:
        return "The texts of a corpus, without labels."
    return "\n".join(f"* `{json.dumps(data['source'])}`" for data in settings["data"])


def _data_licences(settings: Mapping[str, Any]) -> str:
    stated = [data["source"].get("licence") for data in settings.get("data", [])]
    found = ", ".join(f"`{licence}`" for licence in dict.fromkeys(stated) if licence)
    return f"{found}, according to its card" if found and all(stated) else "unknown when this model was trained"


def _measures(log: Sequence[Mapping[str, Any]]) -> str:
    measured = [entry for entry in log if any(name.startswith("eval_") for name in entry)]
    if not measured:
        return "Nothing was measured during training."
    names = [name for name in measured[-1] if name.startswith("eval_") and isinstance(measured[-1][name], float)]
    head = "| step | " + " | ".join(name.removeprefix("eval_") for name in names) + " |"
    lines = [head, "|---" * (len(names) + 1) + "|"]
    for entry in measured:
        lines.append(f"| {entry['step']} | " + " | ".join(f"{entry[name]:.4g}" for name in names) + " |")
    return "\n".join(["Measured during training:", "", *lines])


def _licence(backbone: str) -> str | None:
    """Returns the licence stated by the card in a model's folder, or ``None``. The hub is not queried."""
    card = Path(backbone) / "README.md"
    return ModelCard.load(card, ignore_metadata_errors=True).data.license if card.is_file() else None
