"""A scipy matrix with documents in rows and latents in columns."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from pyterrier_saesplade.formats.source import Source


def write_npz(source: Source, folder: Path) -> None:
    """Writes a folder with a matrix and the names of its rows and columns.

    ``vectors.npz`` is a CSR matrix that ``scipy.sparse.load_npz`` reads. ``docnos.txt`` has the docno of each row on a
    line. ``latents.json`` is the list of the column names.

    Memory: one batch, and 8 bytes per document. The matrix is assembled on disk.

    Args:
        source: The vectors.
        folder: The folder to create.
    """
    folder.mkdir()
    (folder / "latents.json").write_text(
        json.dumps([source.terms.name(latent) for latent in range(len(source.terms))], ensure_ascii=False),
        encoding="utf-8",
    )
    # scipy copies the two index arrays unless they have the same type.
    index = np.dtype(np.int32 if source.store.manifest["n_postings"] < 1 << 31 else np.int64)
    weight = np.dtype(np.float32 if source.quantization is None else np.int32)
    lengths = []
    with TemporaryDirectory(dir=folder) as name:
        latents, weights = Path(name) / "latents", Path(name) / "weights"
        with (
            latents.open("wb") as latents_file,
            weights.open("wb") as weights_file,
            (folder / "docnos.txt").open("w", encoding="utf-8", newline="\n") as docnos_file,
        ):
            for docnos, vectors in source.batches():
                vectors.latents.astype(index).tofile(latents_file)
                vectors.weights.astype(weight).tofile(weights_file)
                docnos_file.writelines(f"{docno}\n" for docno in docnos)
                lengths.append(np.diff(vectors.indptr))
        indptr = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(index)
        arrays = (np.memmap(weights, weight, "r"), np.memmap(latents, index, "r"), indptr)
        matrix = sparse.csr_array(arrays, shape=(len(indptr) - 1, len(source.terms)))
        sparse.save_npz(folder / "vectors.npz", matrix)
        del arrays, matrix  # some systems cannot remove a file that is mapped into memory
