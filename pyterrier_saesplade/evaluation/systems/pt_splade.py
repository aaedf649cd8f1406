"""A SPLADE checkpoint, encoded by pyterrier-splade."""

from __future__ import annotations

import importlib.util
from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd
import pyterrier as pt
from pydantic import PositiveInt

from pyterrier_saesplade.checks import require_positive
from pyterrier_saesplade.errors import MissingPackageError
from pyterrier_saesplade.evaluation.systems.base import ArtifactCache, IndexedSystem, System
from pyterrier_saesplade.evaluation.systems.kinds import Given, system_kind
from pyterrier_saesplade.evaluation.systems.stages import search
from pyterrier_saesplade.evaluation.systems.words import flops_of_words
from pyterrier_saesplade.files import installed_versions
from pyterrier_saesplade.impacts import as_texts
from pyterrier_saesplade.model import tokenizer_digest, weights_digest
from pyterrier_saesplade.pipeline import Stage
from pyterrier_saesplade.saesplade import SaeSplade

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pyterrier_splade import Splade

#: Number of texts in a batch. pyterrier-splade keeps several copies of a matrix with a weight for each token and each
#: word piece of the vocabulary. Its own batches of 100 texts took 10 GB on Cranfield; these take 2.4 GB and as long.
_BATCH = 16


class PtSpladeQueries(Stage):
    """Encodes queries with pyterrier-splade: ``query_toks`` with floats, which are 100 times the weights.

    A missing query counts as an empty one, which pyterrier-splade's own transformer does not handle. The model is
    loaded at the first query.

    Args:
        source: Folder or hub name of a SPLADE checkpoint.
        max_length: Number of word pieces kept per text, markers included.

    Raises:
        PathNotFoundError: If there is no model at the source.
        MissingPackageError: If pyterrier-splade is not installed.
        ModelError: If the model is of another kind.
        SettingError: If ``max_length`` is not positive.

    Examples:
        >>> PtSpladeQueries("naver/splade-v3").search("young cat").columns.tolist()
        ['qid', 'query', 'query_toks']
    """

    label: ClassVar[str] = "pyterrier-splade"

    def __init__(self, source: str, max_length: int = 256) -> None:
        if importlib.util.find_spec("pyterrier_splade") is None:
            raise MissingPackageError(
                "the baseline 'pt-splade' needs pyterrier-splade: pip install 'pyterrier_saesplade[pt-splade]'"
            )
        require_positive(max_length=max_length)
        SaeSplade.from_splade(source)  # raises early, with a clear message, if there is no checkpoint
        self.source = source
        self.max_length = max_length

    @cached_property
    def splade(self) -> Splade:
        """The model of pyterrier-splade, loaded at first use."""
        from pyterrier_splade import Splade

        return Splade(self.source, max_length=self.max_length)

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Returns ``inp`` with a column ``query_toks``."""
        pt.validate.query_frame(inp, extra_columns=["query"])
        if inp.empty:
            return inp.assign(query_toks=pd.Series(index=inp.index, dtype=object))
        texts = [text or "" for text in as_texts(inp["query"])]
        encoded = self.splade.query_encoder(batch_size=_BATCH).transform(pt.new.queries(texts))["query_toks"]
        return inp.assign(query_toks=pd.Series(encoded.tolist(), index=inp.index, dtype=object))


class PtSplade(IndexedSystem):
    """A SPLADE checkpoint as pyterrier-splade uses it: its encoder, a Terrier index of ``toks``, and Terrier's ``Tf``.

    The weights of documents are multiplied by 100 and truncated to integers, as in pyterrier-splade; the weights of
    queries are floats. ``splade=NAME`` runs the same checkpoint in this package, which rounds to other integers. The
    rankings are the same otherwise.

    Args:
        source: Folder or hub name of a SPLADE checkpoint.
        name: The name of the row.
        max_length: Number of word pieces kept per text, markers included.

    Raises:
        PathNotFoundError: If there is no model at the source.
        MissingPackageError: If pyterrier-splade is not installed.
        ModelError: If the model is of another kind.
        SettingError: If ``max_length`` is not positive.
    """

    def __init__(self, source: str, name: str = "pt-splade", *, max_length: int = 256) -> None:
        self.queries = PtSpladeQueries(source, max_length)
        self.name = name
        self.note = (
            f"{name}: {source}, encoded by pyterrier-splade in batches of {_BATCH}, weights times 100, texts truncated "
            f"to {max_length} word pieces, in Terrier"
        )

    @property
    def identity(self) -> str:
        """The weights, the tokenizer, the maximum length, and the version of pyterrier-splade."""
        splade = self.queries.splade
        (version,) = installed_versions(["pyterrier_splade"]).values()
        digests = f"{weights_digest(splade.model)} {tokenizer_digest(splade.tokenizer)}"
        return f"pyterrier-splade {version} {digests} {self.queries.max_length}"

    def build(self, artifacts: ArtifactCache, path: Path) -> None:
        """Encodes and indexes the corpus."""
        indexer = self._terrier(path).toks_indexer(meta={"docno": artifacts.corpus.docno_length})
        (self.queries.splade.doc_encoder(batch_size=_BATCH) >> indexer).index(artifacts.corpus.documents())

    def stages(
        self, artifacts: ArtifactCache, *, ignore_identical_ids: bool = False
    ) -> tuple[pt.Transformer, pt.Transformer]:
        """Returns the query encoder, and Terrier's retriever by ``Tf``, which is the dot product."""
        terrier = self._terrier(artifacts.path(self))
        return self.queries, search(
            lambda num_results: terrier.tf(num_results=num_results), ignore_identical_ids=ignore_identical_ids
        )

    def scorer(self, artifacts: ArtifactCache) -> pt.Transformer:
        """Returns a pipeline that scores given results with Terrier's ``Tf``."""
        pipeline: pt.Transformer = self.queries >> self._terrier(artifacts.path(self)).tf()
        return pipeline

    def qd_flops(self, artifacts: ArtifactCache, queries: Sequence[str]) -> float:
        """Counts the word pieces of the encoded queries and of the indexed documents."""
        query_df: Counter[str] = Counter()
        for toks in self.queries.transform(pt.new.queries(list(queries)))["query_toks"]:
            query_df.update(toks.keys())
        return flops_of_words(self._terrier(artifacts.path(self)).index_obj(), query_df, len(queries))

    def _terrier(self, path: Path) -> Any:
        return pt.terrier.TerrierIndex(str(path))


@system_kind(
    "pt-splade",
    source="CHECKPOINT",
    needs_source=True,
    options={"max_length": PositiveInt},
    help="a SPLADE checkpoint, encoded by pyterrier-splade and indexed by Terrier",
)
def _pt_splade(given: Given) -> System:
    # pyterrier-splade has one length for queries and documents.
    longest = {"max_length": max(given.lengths.values())} if given.lengths else {}
    return PtSplade(str(given.source), given.label, **longest | dict(given.options))
