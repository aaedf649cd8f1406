"""Joins several collections, to pre-train on all of them: docnos become DOCNO-1, DOCNO-2 and so on.

Usage::

    python examples/paper/languages.py --collection irds:msmarco-passage --collection irds:mmarco/v2/es --out languages
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from pyterrier_saesplade import open_collection
from pyterrier_saesplade.collections import write_collection


def main(
    collection: Annotated[list[str], typer.Option(help="Folder or name of a collection; repeat for several.")],
    out: Annotated[Path, typer.Option(help="Folder of the new collection, which has no queries.")],
) -> None:
    """Write the documents of all collections into one, one collection after the other."""
    topics, qrels = pd.DataFrame(columns=["qid", "query"]), pd.DataFrame(columns=["qid", "docno", "label"])
    write_collection(out, documents(collection), topics, qrels)


def documents(collections: list[str]) -> Iterator[dict[str, str]]:
    """Yields the documents; the numbers distinguish translations with the same docno."""
    for number, name in enumerate(collections, start=1):
        for document in open_collection(name).get_corpus_iter():
            yield {"docno": f"{document['docno']}-{number}", "text": document["text"]}


if __name__ == "__main__":
    typer.run(main)
