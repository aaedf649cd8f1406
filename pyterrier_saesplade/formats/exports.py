"""Exports the vectors of a store to the formats of other tools."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pyterrier_saesplade.errors import PathExistsError, SettingError
from pyterrier_saesplade.files import installed_versions, replacing, require_new
from pyterrier_saesplade.formats.ciff import write_ciff
from pyterrier_saesplade.formats.jsonl import write_jsonl
from pyterrier_saesplade.formats.npz import write_npz
from pyterrier_saesplade.formats.opensearch import write_elasticsearch, write_opensearch
from pyterrier_saesplade.formats.source import Source
from pyterrier_saesplade.impacts import Quantization
from pyterrier_saesplade.store import StoredVectors

if TYPE_CHECKING:
    import os
    from collections.abc import Callable


class Format(NamedTuple):
    """A format that vectors can be exported to.

    Attributes:
        write: Writes a source to a file or folder that does not exist yet.
        quantization: How weights are quantised by default; ``None`` for floats.
    """

    write: Callable[[Source, Path], None]
    quantization: Quantization | None = None


FORMATS = {
    "ciff": Format(write_ciff, Quantization()),
    "jsonl": Format(write_jsonl),
    "npz": Format(write_npz),
    "opensearch": Format(write_opensearch),
    "elasticsearch": Format(write_elasticsearch),
}

_ANSERINI = "anserini"

#: The file that describes the vectors in a folder.
_DESCRIPTION = "export.json"


def export(
    store: StoredVectors | str | os.PathLike[str],
    format: str,
    out: str | os.PathLike[str],
    *,
    queries: str | os.PathLike[str] | None = None,
    quantization: Quantization | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes the vectors of a store in the format of another tool. If anything fails, nothing is written.

    ======================  ========================================================================================
    ``"anserini"``          a folder for Pyserini's own commands: JSON vectors of integers, and topics
    ``"ciff"``              a CIFF file of integers, for Terrier, Lucene, PISA, BMP and JASS
    ``"jsonl"``             a JSON lines file, ``{"docno": …, "vector": {…}}``; compressed if its name ends in ``.gz``
    ``"npz"``               a folder with a scipy matrix and the names of its rows and columns
    ``"opensearch"``        a folder with bulk files, a mapping and a query, for a field of type ``rank_features``
    ``"elasticsearch"``     the same for a field of type ``sparse_vector``
    ======================  ========================================================================================

    A folder also contains ``export.json``, which records the model and the quantisation. In the Anserini format,
    ``pt_meta.json`` does.

    Args:
        store: The store, or its folder.
        format: One of the formats above.
        out: The file or folder to write.
        queries: A file of queries that ``saesplade encode --queries`` wrote; only for ``"anserini"``.
        quantization: How weights are converted to integers. ``None`` uses the default of the format (10 levels per unit
            of weight for Anserini and CIFF, floats for the others).
        overwrite: Whether to replace a file, or a folder that was exported.

    Returns:
        The path that was written.

    Raises:
        PathExistsError: If ``out`` exists and must not be replaced.
        SettingError: If the format is unknown.
        DataError: If the format cannot represent the vectors.

    Examples:
        >>> export("my-vectors", "ciff", "concepts.ciff", quantization=Quantization(10, clip=255))
        PosixPath('concepts.ciff')
    """
    if format not in (_ANSERINI, *FORMATS):
        raise SettingError(f"there is no format {format!r}; formats: {', '.join(map(repr, (_ANSERINI, *FORMATS)))}")
    if queries is not None and format != _ANSERINI:
        raise SettingError(f"queries can only be exported to {_ANSERINI!r}, not to {format!r}")
    store = store if isinstance(store, StoredVectors) else StoredVectors(store)
    if format == _ANSERINI:
        # Imported here, because only this format needs the engines.
        from pyterrier_saesplade.formats.anserini import export_vectors

        return export_vectors(store, out, queries=queries, quantization=quantization, overwrite=overwrite)
    source = Source(store, quantization or FORMATS[format].quantization)
    out = Path(out)
    with replacing(out, lambda: _check_target(out, overwrite)) as made:
        FORMATS[format].write(source, made)
        if made.is_dir():
            (made / _DESCRIPTION).write_text(json.dumps(_describe(source, format), indent=1), encoding="utf-8")
    return out


def _check_target(out: Path, overwrite: bool) -> None:
    require_new(out, overwrite=overwrite)
    if out.is_dir() and not (out / _DESCRIPTION).exists():
        raise PathExistsError(f"{out} was not written by an export: choose another folder, or remove it")


def _describe(source: Source, format: str) -> dict[str, object]:
    return {
        "format": format,
        "model": str(source.store),
        "fingerprint": source.store.fingerprint,
        "width": len(source.terms),
        "weighting": source.store.weighting,
        "quantization": None if source.quantization is None else asdict(source.quantization),
        "n_docs": len(source.store),
        "versions": installed_versions(("pyterrier_saesplade",)),
    }
