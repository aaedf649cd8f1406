"""ColBERT checkpoints, run by PyLate."""

from __future__ import annotations

import hashlib
import json
import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import pyterrier as pt

from pyterrier_saesplade.baselines.maxsim import LateScorer
from pyterrier_saesplade.baselines.pylate import require_pylate
from pyterrier_saesplade.checks import require_positive
from pyterrier_saesplade.encoding import pick_device, quiet_transformers
from pyterrier_saesplade.errors import PathNotFoundError
from pyterrier_saesplade.impacts import FINGERPRINT, as_texts
from pyterrier_saesplade.model import tokenizer_digest, weights_digest
from pyterrier_saesplade.pipeline import Stage, in_batches, schematic_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from pyterrier_saesplade.baselines.plaid import PlaidIndex, PlaidIndexer
    from pyterrier_saesplade.types import Side

#: Number of texts in a batch of the network.
_BATCH = 32
#: Number of texts that are passed to PyLate together.
_TEXTS = 1024


class ColbertModel(pt.Transformer):
    """A ColBERT checkpoint as a transformer that encodes and re-ranks, and that creates other transformers.

    It chooses its role by the columns of its input: queries get ``query_embs``, documents get ``doc_embs``, and results
    with ``query`` and ``text`` get a new ``score`` and ``rank``. The model is lazy: its weights are loaded when the
    first text is encoded. Models with the same arguments are equal, and a model is pickled as its arguments.

    Args:
        name_or_path: Hub name or folder of a checkpoint that PyLate can read, such as those of Stanford's ColBERT.
        doc_max_length: Maximum number of word pieces per document, to override the checkpoint's setting.
        query_max_length: The same for queries. Depending on the checkpoint, queries are padded to this length with
            ``[MASK]``.
        device: Where to compute; ``None`` for the first GPU, or the CPU if there is none.
        verbose: Whether transformers created from this model show progress.

    Raises:
        MissingPackageError: If PyLate is not installed.
        SettingError: If a length is not positive, or there is no such device.

    Examples:
        >>> colbert = ColbertModel("colbert-ir/colbertv2.0")
        >>> colbert(pd.DataFrame(documents)).columns.tolist()
        ['docno', 'text', 'doc_embs']
        >>> index = colbert.indexer("colbert.plaid").index(dataset.get_corpus_iter())
        >>> colbert.retriever(index, num_results=3).search("young cat").columns.tolist()
        ['qid', 'query', 'query_embs', 'docno', 'score', 'rank']
        >>> reranker = bm25 % 100 >> dataset.text_loader() >> colbert.scorer()
    """

    def __init__(
        self,
        name_or_path: str | os.PathLike[str],
        *,
        doc_max_length: int | None = None,
        query_max_length: int | None = None,
        device: str | None = None,
        verbose: bool = False,
    ) -> None:
        require_pylate()
        require_positive(doc_max_length=doc_max_length, query_max_length=query_max_length)
        pick_device(device)  # raises an error now instead of when the first text is encoded
        self.source = str(name_or_path)
        self.doc_max_length = doc_max_length
        self.query_max_length = query_max_length
        self.device = device
        self.verbose = verbose

    @cached_property
    def network(self) -> Any:
        """The model of PyLate."""
        from pylate.models import ColBERT

        if os.sep in self.source and Path(self.source).is_absolute() and not Path(self.source).is_dir():
            raise PathNotFoundError(f"there is no ColBERT checkpoint at {self.source}")
        with quiet_transformers():
            return ColBERT(
                self.source,
                document_length=self.doc_max_length,
                query_length=self.query_max_length,
                device=str(pick_device(self.device)),
            )

    @property
    def fingerprint(self) -> str:
        """Identifies the document states: weights, tokenizer, length, prefix and skipped words (hexadecimal)."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        network = self.network
        settings = {
            "weights": weights_digest(network),
            "tokenizer": tokenizer_digest(network.tokenizer),
            "length": network.document_length,
            "prefix": network.document_prefix,
            "skipped": sorted(network.skiplist_words),
        }
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:32]

    def states(self, texts: Sequence[str | None], side: Side) -> Iterator[tuple[int, Tensor]]:
        """Encodes texts.

        Args:
            texts: The texts. ``None``, empty and blank texts are left out.
            side: ``"doc"`` or ``"query"``.

        Yields:
            The position of a text and its unit-length token states ``[tokens, d]``.
        """
        full = [number for number, text in enumerate(texts) if text is not None and text.strip()]
        if full:
            states = self.network.encode(
                [texts[number] for number in full],
                is_query=side == "query",
                batch_size=_BATCH,
                convert_to_tensor=True,
                show_progress_bar=False,
            )
            yield from zip(full, states, strict=True)

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Encodes queries, encodes documents, or scores results: see the class.

        Raises:
            InputValidationError: If the columns fit none of the roles.
        """
        with pt.validate.any(inp) as v:
            v.query_frame(extra_columns=["query"], mode="query_encoder")
            v.document_frame(extra_columns=["text"], mode="documents")
            v.result_frame(extra_columns=["query", "text"], mode="scorer")
            v.columns(includes=["query"], mode="query_encoder")
            v.columns(includes=["text"], mode="documents")
        if v.mode == "documents":
            column = _token_states(self, inp["text"], "doc", batch_size=_TEXTS, verbose=self.verbose)
            return inp.assign(doc_embs=column)
        transformer = self.scorer() if v.mode == "scorer" else self.query_encoder()
        return transformer.transform(inp)

    def subtransformers(self) -> dict[str, pt.Transformer]:
        """Returns an empty dictionary: a model is drawn as one box."""
        return {}

    @property
    def schematic(self) -> dict[str, Any]:
        """How notebooks draw the model."""
        return schematic_of("ColBERT", "ColbertModel")

    def query_encoder(self) -> ColbertQueryEncoder:
        """Returns a transformer that adds ``query_embs``; see :class:`ColbertQueryEncoder`."""
        return ColbertQueryEncoder(self, verbose=self.verbose)

    def scorer(self, *, text_field: str = "text", batch_size: int = _TEXTS) -> ColbertScorer:
        """Returns a transformer that re-ranks texts; see :class:`ColbertScorer`."""
        return ColbertScorer(self, text_field=text_field, batch_size=batch_size, verbose=self.verbose)

    def indexer(self, path: str | os.PathLike[str], **settings: Any) -> PlaidIndexer:
        """Returns an indexer; for the settings see :class:`~pyterrier_saesplade.PlaidIndexer`."""
        from pyterrier_saesplade.baselines.plaid import PlaidIndexer

        return PlaidIndexer(self, path, **({"verbose": self.verbose} | settings))

    def retriever(self, index: PlaidIndex, num_results: int = 1000) -> pt.Transformer:
        """Returns a pipeline that encodes queries and searches an index that this model built.

        If another model built the index, the search raises a :exc:`ModelMismatchError`.
        """
        pipeline: pt.Transformer = self.query_encoder() >> index.retriever(num_results, verbose=self.verbose)
        return pipeline

    def __eq__(self, other: object) -> bool:
        """Returns whether both are the same checkpoint with the same settings."""
        return isinstance(other, ColbertModel) and self._settings() == other._settings()

    def __hash__(self) -> int:
        """Returns a hash that agrees with ``==``."""
        return hash(tuple(self._settings().values()))

    def __repr__(self) -> str:
        """Returns the call of the constructor, without defaults."""
        changed = {name: value for name, value in self._settings().items() if name != "source" and value is not None}
        arguments = [repr(self.source), *(f"{name}={value!r}" for name, value in changed.items())]
        return f"ColbertModel({', '.join(arguments)})"

    def __getstate__(self) -> dict[str, Any]:
        """Pickles the model without its weights, which are loaded again from the source."""
        return {**self._settings(), "verbose": self.verbose}

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("source", "doc_max_length", "query_max_length", "device")}


class ColbertQueryEncoder(Stage):
    """Adds the token states of queries as ``query_embs``, arrays ``[tokens, d]``.

    The array of a query without text is empty. A query that occurs in several rows is encoded once.

    Args:
        model: The model.
        batch_size: Number of queries that are encoded together.
        verbose: Whether to show progress.

    Raises:
        SettingError: If ``batch_size`` is not positive.

    Examples:
        >>> ColbertQueryEncoder(colbert).search("young cat").columns.tolist()
        ['qid', 'query', 'query_embs']
    """

    label: ClassVar[str] = "ColBERT of queries"

    def __init__(self, model: ColbertModel, *, batch_size: int = _TEXTS, verbose: bool = False) -> None:
        require_positive(batch_size=batch_size)
        self.model = model
        self.batch_size = batch_size
        self.verbose = verbose

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Returns ``inp`` with a column ``query_embs``."""
        with pt.validate.any(inp) as v:
            v.query_frame(extra_columns=["query"])
            v.columns(includes=["query"])
        column = _token_states(self.model, inp["query"], "query", batch_size=self.batch_size, verbose=self.verbose)
        out = inp.assign(query_embs=column)
        if len(out):  # PyTerrier finds output columns with an empty frame, which must not load the model
            out.attrs[FINGERPRINT] = self.model.fingerprint
        return out


class ColbertScorer(LateScorer):
    """Re-ranks with ColBERT: sums the largest cosine of each query token to a token of the document.

    The score of a row is 0 if its query or document has no text. Each distinct text is encoded once. Memory holds the
    states of all distinct queries and of one batch of documents.

    Args:
        model: The model.
        text_field: The column of the document text.
        batch_size: Number of documents that are encoded together.
        verbose: Whether to show progress.

    Raises:
        SettingError: If ``batch_size`` is not positive.

    Examples:
        >>> pipeline = bm25 % 100 >> dataset.text_loader() >> ColbertScorer(colbert)
        >>> sorted(pipeline.search("young cat")["docno"])
        ['d11', 'd3', 'd4']
    """

    label: ClassVar[str] = "ColBERT scorer"

    def __init__(
        self, model: ColbertModel, *, text_field: str = "text", batch_size: int = _TEXTS, verbose: bool = False
    ) -> None:
        require_positive(batch_size=batch_size)
        self.model = model
        self.text_field = text_field
        self.batch_size = batch_size
        self.verbose = verbose

    @property
    def _token_model(self) -> ColbertModel:
        return self.model


def _token_states(model: ColbertModel, column: pd.Series, side: Side, *, batch_size: int, verbose: bool) -> pd.Series:
    """Returns the token states of a column of texts, arrays ``[tokens, d]``. Each distinct text is encoded once."""
    texts = as_texts(column)
    states_of: dict[str | None, Any] = {}
    distinct = list(dict.fromkeys(texts))
    desc = "Encoding queries" if side == "query" else "Encoding documents"
    for batch in in_batches(distinct, batch_size, verbose=verbose, desc=desc, unit=side):
        for number, states in model.states(batch, side):
            states_of[batch[number]] = states.cpu().numpy()
    no_tokens = np.empty((0, 0), np.float32)
    return pd.Series([states_of.get(text, no_tokens) for text in texts], index=column.index, dtype=object)
