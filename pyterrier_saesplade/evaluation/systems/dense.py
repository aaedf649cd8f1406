"""A dense bi-encoder with one vector per text."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import PositiveInt

from pyterrier_saesplade.errors import MissingPackageError
from pyterrier_saesplade.evaluation.systems.base import ArtifactCache, IndexedSystem, System
from pyterrier_saesplade.evaluation.systems.kinds import Given, system_kind
from pyterrier_saesplade.evaluation.systems.stages import search
from pyterrier_saesplade.model import check_encoder, weights_digest
from pyterrier_saesplade.pipeline import Standardise

if TYPE_CHECKING:
    from pathlib import Path

    import pyterrier as pt
    from pyterrier_dr import SBertBiEncoder


#: Number of word pieces kept per text, for an encoder that is given by name.
DENSE_LENGTH = 256


class Dense(IndexedSystem):
    """A bi-encoder of ``pyterrier_dr`` with one vector per text, searched exhaustively.

    Args:
        backbone: Hub name or folder of a sentence-transformers model.
        max_length: Number of word pieces kept per text.
        name: The name of the row.

    Raises:
        PathNotFoundError: If there is no such model.
        MissingPackageError: If ``pyterrier_dr`` is not installed.
    """

    def __init__(self, backbone: str, max_length: int, name: str = "dense") -> None:
        try:
            import pyterrier_dr
        except ImportError as error:
            message = "the baseline 'dense' needs pyterrier_dr: pip install 'pyterrier_saesplade[dense]'"
            raise MissingPackageError(message) from error
        check_encoder(backbone)
        self._dr = pyterrier_dr
        self.name = name
        self.backbone = backbone
        self.max_length = max_length
        self.note = f"{name}: pyterrier_dr, {backbone}, texts truncated to {max_length} word pieces, exhaustive search"

    @cached_property
    def encoder(self) -> SBertBiEncoder:
        """The bi-encoder, loaded at first use."""
        encoder = self._dr.SBertBiEncoder(self.backbone)
        encoder.model.max_seq_length = self.max_length
        return encoder

    @property
    def identity(self) -> str:
        """The weights, and the number of word pieces kept per text."""
        return f"flex {weights_digest(self.encoder.model)} {self.max_length}"

    def build(self, artifacts: ArtifactCache, path: Path) -> None:
        """Encodes the corpus into a FLEX index."""
        (self.encoder.doc_encoder(batch_size=256) >> self._index(path)).index(artifacts.corpus.documents())

    def stages(
        self, artifacts: ArtifactCache, *, ignore_identical_ids: bool = False
    ) -> tuple[pt.Transformer, pt.Transformer]:
        """Returns the query encoder, and a retriever that computes the inner products with all documents."""
        index = self._index(artifacts.path(self))

        def retriever(num_results: int) -> pt.Transformer:
            stage: pt.Transformer = index.np_retriever(num_results=num_results, drop_query_vec=True)
            return stage

        return self.encoder.query_encoder(), search(retriever, ignore_identical_ids=ignore_identical_ids)

    def scorer(self, artifacts: ArtifactCache) -> pt.Transformer:
        """Returns a pipeline that scores results as z-scores, because cosines differ too little to learn from."""
        scorer = self._index(artifacts.path(self)).np_scorer()
        pipeline: pt.Transformer = self.encoder.query_encoder() >> scorer >> Standardise()
        return pipeline

    def _index(self, path: Path) -> Any:
        return self._dr.FlexIndex(str(path), verbose=False)


@system_kind(
    "dense",
    source="ENCODER",
    options={"doc_max_length": PositiveInt},
    help="a bi-encoder of sentence-transformers, through ``pyterrier_dr``; by default the model's backbone",
)
def _dense(given: Given) -> System:
    own = DENSE_LENGTH if given.source else given.backbone().doc_max_length
    length = (given.lengths | dict(given.options)).get("doc_max_length", own)
    return Dense(given.source or given.backbone().backbone, length, given.label)
