"""Measures what latents mean: synonyms, ambiguous words, translations, and pairs of a token and a latent.

``--data`` is a folder with these files, which you have to provide. Folders that are missing are skipped.

- ``wordsim/NAME.tsv``: ``word<TAB>word<TAB>score``, word pairs with human similarity scores, such as RG-65 and
  WordSim-353 (https://github.com/mfaruqui/eval-word-vectors, ``data/word-sim``)
- ``mcl-wic/dev.en-en.jsonl.gz`` and ``test.en-en.jsonl.gz``: the pairs of MCL-WiC with their gold labels as ``tag``
  (https://github.com/SapienzaNLP/mcl-wic)
- ``tatoeba/LANG-eng.tsv.gz``: ``sentence<TAB>English sentence``, with LANG as deu, fra, spa, rus, ara and cmn
  (https://github.com/facebookresearch/LASER, ``data/tatoeba/v1``)
- ``xquad/en`` and ``xquad/de``: collections of XQuAD's paragraphs with the same docnos in both languages
  (https://github.com/google-deepmind/xquad)

Usage::

    python examples/paper/meaning.py --model MODEL --splade SPLADE --data my-data --collection docstrings
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from pyterrier_saesplade import SaeSplade, open_collection
from pyterrier_saesplade.concepts import cooccurrence
from pyterrier_saesplade.concepts.meaning import (
    alignment,
    polysemy,
    read_occurrences,
    read_translations,
    read_word_pairs,
    synonymy,
)

LANGUAGES = ("deu", "fra", "spa", "rus", "ara", "cmn")


def main(
    data: Annotated[Path, typer.Option(help="Folder of the annotated data.")],
    model: Annotated[list[Path], typer.Option(help="Folder of a SAE-SPLADE model; repeat for several.")],
    splade: Annotated[list[Path], typer.Option(help="Folder of a SPLADE checkpoint; repeat for several.")],
    k: Annotated[list[int] | None, typer.Option(help="Latents per token of the SAEs; repeat for several.")] = None,
    collection: Annotated[str | None, typer.Option(help="Collection in which co-occurrences are counted.")] = None,
    passages: Annotated[int, typer.Option(help="Number of these passages.")] = 10_000,
) -> None:
    """Print one Markdown table per analysis."""
    models = {
        f"{folder.name}{f', k = {kept}' if kept else ''}": SaeSplade.from_pretrained(folder, k=kept)
        for folder in model
        for kept in (k or (None,))
    }
    models |= {folder.parent.name: SaeSplade.from_splade(folder) for folder in splade}
    for title, table in tables(models, data):
        print(f"\n{title}\n\n{markdown(table)}", flush=True)
    if collection is not None:
        rows = {}
        for name, opened in models.items():
            found = cooccurrence(opened, open_collection(collection).get_corpus_iter(), passages)
            rows[name] = {"pairs": len(found.pairs), **found.counts}
        print(
            f"\nCo-occurrence in {passages:,} passages\n\n{markdown(pd.DataFrame(rows).T.reset_index(names='model'))}"
        )


def tables(models: dict[str, SaeSplade], data: Path) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yields the title and the table of each analysis that has data."""
    words = of_each(data / "wordsim", "*.tsv", read_word_pairs)
    if words:
        found = synonymy(models, words)
        for measure in ("spearman", "jaccard"):
            table = found.pivot_table(measure, ["model", "vectors"], "data", sort=False)
            yield f"Synonymy, {measure}", table.assign(mean=table.mean(axis=1)).reset_index()
    contexts = data / "mcl-wic"
    if contexts.is_dir():
        training, test = (read_occurrences(contexts / f"{part}.en-en.jsonl.gz") for part in ("dev", "test"))
        yield "Polysemy", polysemy(models, training, test)
    texts: dict[str, pd.DataFrame] = {}
    if (data / "tatoeba").is_dir():
        texts |= {language: read_translations(data / "tatoeba" / f"{language}-eng.tsv.gz") for language in LANGUAGES}
    if (data / "xquad").is_dir():
        english, german = (paragraphs(data / "xquad" / language) for language in ("en", "de"))
        texts["xquad de"] = pd.DataFrame({"text": german, "translation": english})  # of the same docno
    if texts:
        yield "Alignment", alignment(models, texts)


def of_each(folder: Path, pattern: str, read: Callable[[Path], pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Reads all files of a folder."""
    return {path.stem: read(path) for path in sorted(folder.glob(pattern))}


def paragraphs(folder: Path) -> pd.Series:
    """Returns a collection's texts by docno."""
    return pd.DataFrame(open_collection(folder).get_corpus_iter()).set_index("docno")["text"]


def markdown(table: pd.DataFrame) -> str:
    """Returns a frame as a Markdown table, floats with three digits."""
    cells = table.map(lambda cell: ("" if pd.isna(cell) else f"{cell:.3f}") if isinstance(cell, float) else str(cell))
    rows = [table.columns.tolist(), ["---"] * len(table.columns), *cells.to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)


if __name__ == "__main__":
    typer.run(main)
