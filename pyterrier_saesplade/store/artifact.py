"""A store as a PyTerrier artifact, which can be uploaded to and downloaded from hubs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pyterrier as pt

from pyterrier_saesplade.hub_card import brief, fill_readme, opening
from pyterrier_saesplade.store.reader import STORE_FORMAT, STORE_TYPE, StoredVectors

if TYPE_CHECKING:
    import os


class ConceptStore(StoredVectors, pt.Artifact):
    """The stored concept vectors of a corpus, as loaded by ``pt.Artifact.load`` from the folder of a store.

    Examples:
        >>> store = pt.Artifact.load("my-vectors")
        >>> len(store)
        12
        >>> index = ConceptIndexer(store, "concepts.exact", "exact").index(store)
    """

    ARTIFACT_TYPE: ClassVar[str] = STORE_TYPE
    ARTIFACT_FORMAT: ClassVar[str] = STORE_FORMAT
    ARTIFACT_PACKAGE_HINT: ClassVar[str] = "pyterrier_saesplade"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        pt.Artifact.__init__(self, Path(path))
        StoredVectors.__init__(self, path)

    def __eq__(self, other: object) -> bool:
        """Compares the folder and the manifest."""
        return (
            type(other) is type(self)
            and self.folder.resolve() == other.folder.resolve()
            and self.manifest == other.manifest
        )

    def __hash__(self) -> int:
        """Is consistent with ``==``."""
        return hash((type(self), self.folder.resolve()))

    def __repr__(self) -> str:
        """Returns the call that constructs the store."""
        return f"{type(self).__name__}({str(self.folder)!r})"

    def _hf_readme(self, *, metadata: dict[str, Any] | None = None, **settings: Any) -> str:
        """Fills in the README that ``to_hf`` uploads with the store."""
        known = opening(str(self), "encode_corpus")
        return fill_readme(
            str(super()._hf_readme(metadata=brief(metadata), **settings)),
            description=(
                "The concept vectors of a corpus, encoded with pyterrier_saesplade for use with any engine: "
                f"{len(self):,} documents, {self.manifest['n_postings']:,} weights over {len(self.terms):,} latents, "
                "in Parquet files of `docno`, `latents` and `weights`.\n\n"
                f"- model: `{self}`, fingerprint `{self.fingerprint}`\n"
                f"- query weights are multiplied by: {self.weighting}"
            ),
            usage=(
                "from pyterrier_saesplade import ConceptIndexer\n\n"
                'index = ConceptIndexer(artifact, "concepts.index").index(artifact)'
            ),
            reproduction=f'{known}encode_corpus(model, dataset, "vectors")' if known else "",
        )
