"""Texts, or a store of their vectors, to a Lucene index: ``python -m pyserini_bridge.index``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from more_itertools import chunked
from tqdm.auto import tqdm

from pyserini_bridge import jvm
from pyserini_bridge.cli import mistakes
from pyserini_bridge.description import require_whole_terms
from pyserini_bridge.lucene import DELIMITER
from pyserini_bridge.process import lucene
from pyterrier_saesplade.encoding.vectors import ConceptVectors
from pyterrier_saesplade.engines.description import write_docnos
from pyterrier_saesplade.engines.spool import Spool
from pyterrier_saesplade.engines.write import counted, write_index
from pyterrier_saesplade.errors import EngineError
from pyterrier_saesplade.files import installed_versions, require_new
from pyterrier_saesplade.impacts import Quantization, Terms
from pyterrier_saesplade.impacts.toks import to_toks
from pyterrier_saesplade.store.documents import encode_documents
from pyterrier_saesplade.store.model import IndexedModel
from pyterrier_saesplade.store.reader import StoredVectors

INDEX_FORMAT = "anserini"

_WINDOW_DOCUMENTS = 4096


def build_index(
    model: IndexedModel, encoded: Iterable[tuple[Sequence[str], ConceptVectors]], index: str | os.PathLike[str]
) -> Path:
    """Builds a Lucene index of impacts.

    It is at the same time an index of concept vectors: ``pyterrier.Artifact.load`` opens it.

    Args:
        model: The model that encoded the documents, or a store.
        encoded: Docnos and float concept vectors, some thousand documents at a time.
        index: The folder that the index will be.

    Returns:
        The folder.

    Raises:
        FileExistsError: If there is something at ``index``.
        ImportError: If Pyserini is not installed.
        JavaNotFoundError: If there is no Java of version 21 or later.
        ValueError: If there are no documents, all are empty, or a docno occurs twice.

    Examples:
        >>> store = StoredVectors("vectors")  # doctest: +SKIP
        >>> build_index(store, store.windows(), "INDEX")  # doctest: +SKIP
    """
    index = Path(index)
    require_new(index)
    jvm.require()
    write_index(
        index,
        INDEX_FORMAT,
        write_lucene,
        model,
        encoded,
        partial(require_new, index),
        quantization=Quantization(),
        versions=installed_versions(["pyserini"]),
    )
    return index


def write_lucene(folder: Path, spool: Spool, terms: Terms) -> None:
    """Writes Lucene's files, and the docnos in the order of its documents.

    Raises:
        EngineError: If Lucene did not index every document.
        ValueError: If a term holds a blank.
    """
    require_whole_terms(terms, spool.statistics)
    count = lucene().write(folder, _documents(spool, terms))
    if count != spool.statistics.n_docs:
        raise EngineError(f"Lucene indexed {count} of {spool.statistics.n_docs} documents")
    write_docnos(folder, spool.docnos())


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(
        prog="python -m pyserini_bridge.index",
        description="Encode a collection and index it with Lucene, as Anserini does.",
    )
    parser.add_argument("--index", required=True, type=Path, help="folder that the index will be")
    parser.add_argument("--model", help="folder or hub name; splade=NAME for a SPLADE checkpoint")
    parser.add_argument("--collection", help="folder with docs.jsonl[.gz]; a data set of PyTerrier or ir_datasets")
    parser.add_argument("--store", type=Path, help="store of vectors, in place of collection and model")
    parser.add_argument("--device", help="such as cpu or cuda:1; the first GPU if there is one")
    arguments = parser.parse_args()
    texts = arguments.collection, arguments.model
    if (None in texts) if arguments.store is None else texts != (None, None):
        parser.error("give --collection and --model, or --store")
    with mistakes(parser.prog):
        require_new(arguments.index)
        if arguments.store is not None:
            store = StoredVectors(arguments.store)
            jvm.start()
            with tqdm(desc="Indexing", unit="doc", total=len(store)) as bar:
                build_index(store, counted(store.windows(), bar), arguments.index)
            return
        from pyserini_bridge.model import BridgeModel
        from pyterrier_saesplade.collections import open_collection

        documents = open_collection(arguments.collection).get_corpus_iter()
        jvm.start()
        model = BridgeModel(arguments.model, arguments.device)
        encoded = map(partial(encode_documents, model), chunked(documents, _WINDOW_DOCUMENTS))
        with tqdm(desc="Indexing", unit="doc") as bar:
            build_index(model, counted(encoded, bar), arguments.index)


def _documents(spool: Spool, terms: Terms) -> Iterator[list[tuple[str, str]]]:
    """Yields the documents as Lucene takes them."""
    for window, vectors in spool:
        texts = (
            " ".join(f"{term}{DELIMITER}{weight}" for term, weight in toks.items()) for toks in to_toks(vectors, terms)
        )
        yield list(zip(window, texts, strict=True))


if __name__ == "__main__":
    main()
