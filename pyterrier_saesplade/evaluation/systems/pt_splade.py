"""A SPLADE checkpoint by the recipe of pyterrier-splade."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
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
    from pyterrier_splade import Splade

#: Texts in one batch of pyterrier-splade. It computes with a weight for every token and every word piece, several times
#: over: with its own batches, of 100, that was 10 GB on Cranfield, with these 2.4, and took as long.
_BATCH = 16


class PtSpladeQueries(Stage):
    """Encodes queries as pyterrier-splade does: ``query_toks``, floats, 100 times the weights.

    A missing query is taken for an empty one, which pyterrier-splade's own stage is not prepared for. The model is
    loaded at the first query.

    Args:
        source: Folder or hub name of a SPLADE checkpoint.
        max_length: Word pieces kept per text, markers included.

    Raises:
        FileNotFoundError: If there is no model at the source.
        ImportError: If pyterrier-splade is not installed.
        ValueError: If the model is of another kind, or ``max_length`` is not positive.

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
        SaeSplade.from_splade(source)  # an error now, in one line, if there is no checkpoint
        self.source = source
        self.max_length = max_length

    @cached_property
    def splade(self) -> Splade:
        """pyterrier-splade's model, loaded at first use."""
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
    """A SPLADE checkpoint by pyterrier-splade's recipe: its encoder, Terrier's index of ``toks``, Terrier's ``Tf``.

    Weights of documents are multiplied by 100 and cut to integers, as pyterrier-splade does it; those of queries are
    floats. ``splade=NAME`` is the same checkpoint by this package: other integers, the same ranking but for that.

    Args:
        source: Folder or hub name of a SPLADE checkpoint.
        name: What the line is called.
        max_length: Word pieces kept per text, markers included.

    Raises:
        FileNotFoundError: If there is no model at the source.
        ImportError: If pyterrier-splade is not installed.
        ValueError: If the model is of another kind, or ``max_length`` is not positive.
    """

    def __init__(self, source: str, name: str = "pt-splade", *, max_length: int = 256) -> None:
        self.queries = PtSpladeQueries(source, max_length)
        self.name = name
        self.note = (
            f"{name}: pyterrier-splade's encoder of {source} in batches of {_BATCH}, weights times 100, texts cut at "
            f"{max_length} word pieces, in Terrier"
        )

    @property
    def identity(self) -> str:
        """The weights, the tokenizer, the length, and the version of what encodes."""
        splade = self.queries.splade
        (version,) = installed_versions(["pyterrier_splade"]).values()
        digests = f"{weights_digest(splade.model)} {tokenizer_digest(splade.tokenizer)}"
        return f"pyterrier-splade {version} {digests} {self.queries.max_length}"

    def build(self, artifacts: ArtifactCache, path: Path) -> None:
        """Encodes and artifacts the corpus."""
        indexer = self._terrier(path).toks_indexer(meta={"docno": artifacts.corpus.docno_length})
        (self.queries.splade.doc_encoder(batch_size=_BATCH) >> indexer).index(artifacts.corpus.documents())

    def stages(
        self, artifacts: ArtifactCache, *, ignore_identical_ids: bool = False
    ) -> tuple[pt.Transformer, pt.Transformer]:
        """The query encoder, and Terrier's sum of products."""
        terrier = self._terrier(artifacts.path(self))
        return self.queries, search(
            lambda num_results: terrier.tf(num_results=num_results), ignore_identical_ids=ignore_identical_ids
        )

    def scorer(self, artifacts: ArtifactCache) -> pt.Transformer:
        """Terrier's sum of products, over the results that it is given."""
        pipeline: pt.Transformer = self.queries >> self._terrier(artifacts.path(self)).tf()
        return pipeline

    def qd_flops(self, artifacts: ArtifactCache, queries: Sequence[str]) -> float:
        """Counts word pieces of the queries as encoded, and of the documents as indexed."""
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
    help="a SPLADE checkpoint by the recipe of pyterrier-splade, in Terrier",
)
def _pt_splade(given: Given) -> System:
    # pyterrier-splade has one length for both sides.
    longest = {"max_length": max(given.lengths.values())} if given.lengths else {}
    return PtSplade(str(given.source), given.label, **longest | dict(given.options))
