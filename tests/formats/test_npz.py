"""A scipy matrix with the names of its rows and columns."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from pyterrier_saesplade.formats import export
from pyterrier_saesplade.impacts import Quantization
from pyterrier_saesplade.store import StoredVectors


@pytest.mark.parametrize("quantization", [None, Quantization()])
def test_the_matrix(quantization: Quantization | None, store: StoredVectors, tmp_path: Path) -> None:
    folder = export(store, "npz", tmp_path / "matrix", quantization=quantization)
    matrix = sparse.load_npz(folder / "vectors.npz")
    docnos = (folder / "docnos.txt").read_text(encoding="utf-8").splitlines()
    latents = json.loads((folder / "latents.json").read_text(encoding="utf-8"))
    assert matrix.shape == (6, 6)
    assert matrix.dtype == (np.float32 if quantization is None else np.int32)
    assert latents == store.terms.pieces
    for docno, row, document in zip(docnos, matrix.toarray(), store.get_corpus_iter(), strict=True):
        assert docno == document["docno"]
        toks = document["toks"] if quantization is None else quantization.quantize_toks(document["toks"])
        assert {name: weight for name, weight in zip(latents, row.tolist(), strict=True) if weight} == toks
    assert {path.name for path in folder.iterdir()} == {"vectors.npz", "docnos.txt", "latents.json", "export.json"}
