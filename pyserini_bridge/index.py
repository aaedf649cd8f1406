"""Builds a Lucene index from texts or from a store of vectors: ``python -m pyserini_bridge.index``."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from more_itertools import chunked
from tqdm.auto import tqdm

from pyterrier_saesplade.documents import encode_documents
from pyterrier_saesplade.engines import LuceneWriter, counted, start_java, write_index
from pyterrier_saesplade.files import require_new
from pyterrier_saesplade.impacts import Quantization
from pyterrier_saesplade.mistakes import reported
from pyterrier_saesplade.store import StoredVectors

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from pyterrier_saesplade.protocols import IndexedModel
    from pyterrier_saesplade.vectors import ConceptVectors

#: Number of documents that are encoded together.
_BATCH_DOCUMENTS = 4096


def build_index(
    model: IndexedModel, encoded: Iterable[tuple[Sequence[str], ConceptVectors]], index: str | os.PathLike[str]
) -> Path:
    """Builds a Lucene impact index.

    The folder is also an index of concept vectors that ``pyterrier.Artifact.load`` opens.

    Args:
        model: The model that encoded the documents, or a store.
        encoded: Batches of a few thousand documents: docnos and float concept vectors.
        index: The folder of the new index.

    Returns:
        The folder.

    Raises:
        PathExistsError: If ``index`` exists.
        MissingPackageError: If Pyserini is not installed.
        JavaNotFoundError: If there is no Java 21 or later.
        DataError: If there are no documents, all of them are empty, or a docno occurs twice.

    Examples:
        >>> store = StoredVectors("my-vectors")
        >>> build_index(store, store.batches(), "lucene-index")
        PosixPath('lucene-index')
    """
    index = Path(index)
    require_new(index)
    LuceneWriter.prepare()
    write_index(index, LuceneWriter, model, encoded, partial(require_new, index), quantization=Quantization())
    return index


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(
        prog="python -m pyserini_bridge.index",
        description="Encode a collection and index it with Lucene for Anserini and Pyserini.",
    )
    parser.add_argument("--index", required=True, type=Path, help="folder of the new index")
    parser.add_argument("--model", help="folder or hub name; splade=NAME for a SPLADE checkpoint")
    parser.add_argument("--collection", help="folder with docs.jsonl[.gz], or a dataset of PyTerrier or ir_datasets")
    parser.add_argument("--store", type=Path, help="store of vectors, instead of a collection and a model")
    parser.add_argument("--device", help="device of the model, such as cpu or cuda:1; by default the first GPU if any")
    arguments = parser.parse_args()
    texts = arguments.collection, arguments.model
    if (None in texts) if arguments.store is None else texts != (None, None):
        parser.error("pass --collection and --model, or --store")
    with reported(parser.prog):
        require_new(arguments.index)
        if arguments.store is not None:
            store = StoredVectors(arguments.store)
            start_java()
            with tqdm(desc="Indexing", unit="doc", total=len(store)) as bar:
                build_index(store, counted(store.batches(), bar), arguments.index)
            return
        from pyserini_bridge.model import BridgeModel
        from pyterrier_saesplade.collections import open_collection

        documents = open_collection(arguments.collection).get_corpus_iter()
        start_java()
        model = BridgeModel(arguments.model, arguments.device)
        encoded = map(partial(encode_documents, model), chunked(documents, _BATCH_DOCUMENTS))
        with tqdm(desc="Indexing", unit="doc") as bar:
            build_index(model, counted(encoded, bar), arguments.index)


if __name__ == "__main__":
    main()
