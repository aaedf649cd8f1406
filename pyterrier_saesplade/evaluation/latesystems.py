"""Late interaction in a comparison: ColBERT over its own index, and two ways to re-rank what BM25 found."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pandas as pd
import pyterrier as pt

from pyterrier_saesplade.baselines.colbert import ColbertModel
from pyterrier_saesplade.baselines.late_interaction import LateInteraction
from pyterrier_saesplade.baselines.plaid import PlaidIndex
from pyterrier_saesplade.evaluation.systems import NUM_RESULTS, Corpus, System, Words
from pyterrier_saesplade.pipeline.stage import Stage, require_positive
from pyterrier_saesplade.training.data.tables import TextTable

#: Where an index for re-ranking has its words and its texts.
_WORDS, _TEXTS = "words", "texts.txt"


class Colbert(System):
    """A ColBERT checkpoint, which retrieves from its own PLAID index, to the depth of every run.

    Args:
        checkpoint: Hub name or folder of a checkpoint that PyLate reads.
        doc_max_length: Word pieces kept per document; ``None``: as the checkpoint says.
        query_max_length: The same for queries.

    Raises:
        ImportError: If PyLate is not installed.
    """

    name = "colbert"

    def __init__(
        self, checkpoint: str, *, doc_max_length: int | None = None, query_max_length: int | None = None
    ) -> None:
        self.model = ColbertModel(checkpoint, doc_max_length=doc_max_length, query_max_length=query_max_length)
        self.note = f"{self.name}: {self.model!r}, PyLate's PLAID index, approximate search"

    @property
    def identity(self) -> str:
        """The model's fingerprint: weights and document-side settings."""
        return f"plaid {self.model.fingerprint}"

    def build(self, corpus: Corpus, path: Path) -> None:
        """Encodes, clusters and compresses the token states of the corpus."""
        self.model.indexer(path).index(corpus.documents())

    def stages(self, path: Path) -> tuple[pt.Transformer, pt.Transformer]:
        """The query encoder, and PLAID's search."""
        return self.model.query_encoder(), PlaidIndex(path).retriever(NUM_RESULTS)

    def qd_flops(self, path: Path, queries: Sequence[str]) -> None:
        """Token states have no inverted index of terms."""


class _Reranker(System):
    """Scores the first results of BM25 again; the run has these results and no others.

    Its index is that of the words, and the texts beside it.
    """

    identity: ClassVar[str] = f"{Words.identity}, with the texts"
    depth: int

    def build(self, corpus: Corpus, path: Path) -> None:
        """Indexes the words of the corpus, and keeps its texts."""
        path.mkdir()
        TextTable.write(path / _TEXTS, ((document["docno"], document["text"]) for document in corpus.documents()))
        Words().build(corpus, path / _WORDS)

    def stages(self, path: Path) -> tuple[pt.Transformer, pt.Transformer]:
        """Nothing to encode for BM25; its first results, their texts, and the scores of the query as it was asked."""
        encode, retrieve = Words().stages(path / _WORDS)
        first = retrieve % self.depth >> pt.rewrite.reset()
        return encode, first >> _TextLoader(path / _TEXTS) >> self._scorer()

    def qd_flops(self, path: Path, queries: Sequence[str]) -> None:
        """What re-ranking costs is not the multiplications of an inverted index."""

    @abstractmethod
    def _scorer(self) -> pt.Transformer:
        """Returns what scores queries with texts."""


class ColbertReranker(_Reranker):
    """BM25's first results, scored again by a ColBERT checkpoint.

    Args:
        checkpoint: Hub name or folder of a checkpoint that PyLate reads.
        depth: How many results of BM25 are scored again, which is the depth of the run.
        doc_max_length: Word pieces kept per document; ``None``: as the checkpoint says.
        query_max_length: The same for queries.

    Raises:
        ImportError: If PyLate is not installed.
        ValueError: If ``depth`` or a length is not positive.
    """

    name = "colbert-rerank"

    def __init__(
        self,
        checkpoint: str,
        *,
        depth: int = NUM_RESULTS,
        doc_max_length: int | None = None,
        query_max_length: int | None = None,
    ) -> None:
        require_positive(depth=depth)
        self.depth = depth
        self.model = ColbertModel(checkpoint, doc_max_length=doc_max_length, query_max_length=query_max_length)
        self.note = f"{self.name}: {self.model!r} over the first {depth} results of bm25"

    def _scorer(self) -> pt.Transformer:
        return self.model.scorer()


class LateInteractionSystem(_Reranker):
    """BM25's first results, scored again by late interaction over an encoder's own token states.

    Args:
        backbone: Hub name or folder of any encoder.
        depth: How many results of BM25 are scored again, which is the depth of the run.
        doc_max_length: Word pieces kept per document.
        query_max_length: The same for queries.

    Raises:
        ValueError: If ``depth`` or a length is not positive.
    """

    name = "late-interaction"

    def __init__(
        self, backbone: str, *, depth: int = 100, doc_max_length: int = 256, query_max_length: int = 32
    ) -> None:
        require_positive(depth=depth)
        self.depth = depth
        self.scorer = LateInteraction(backbone, doc_max_length=doc_max_length, query_max_length=query_max_length)
        self.note = (
            f"{self.name}: MaxSim of the last layer's states of {backbone}, neither projected nor trained for it, "
            f"texts cut at {doc_max_length} word pieces, over the first {depth} results of bm25"
        )

    def _scorer(self) -> pt.Transformer:
        return self.scorer


class _TextLoader(Stage):
    """Adds the texts of documents as ``text``, from a file."""

    label: ClassVar[str] = "Texts"

    def __init__(self, path: Path) -> None:
        self.path = path

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Returns ``inp`` with a column ``text``; each document is read once."""
        pt.validate.result_frame(inp)
        docnos = list(dict.fromkeys(inp["docno"]))
        table = TextTable(self.path)
        text_of = dict(zip(docnos, table.texts(table.rows(docnos)), strict=True))
        return inp.assign(text=inp["docno"].map(text_of).astype(object))
