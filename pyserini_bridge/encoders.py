"""Encoders for Pyserini, which convert a text to a dictionary of integers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pyserini_bridge.model import BridgeModel
from pyterrier_saesplade.engines import QUERY_SCALE, Description, impacts
from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.impacts import Quantization

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pyterrier_saesplade.protocols import ConceptModel

#: The prefix of encoder names in Pyserini's commands.
SCHEME = "sae:"


class SaeQueryEncoder:
    """A query encoder for Pyserini's ``LuceneImpactSearcher``.

    Pyserini encodes one query at a time. :meth:`prepare` encodes many queries together beforehand, which is several
    times faster.

    Args:
        model: Folder or hub name (``splade=NAME`` for a SPLADE checkpoint), or an open model.
        index: The index, or the exported vectors that it was built from. It records which model encoded the documents,
            and what query weights are multiplied by. Without it, the model is not checked and queries are not weighted.
        device: Where to compute; ``None`` for the first GPU, or the CPU if there is none.

    Raises:
        PathNotFoundError: If ``index`` has no description of its vectors.
        ModelMismatchError: If another model encoded the documents.
        SettingError: If the model requires query weights to be multiplied by idf, but ``index`` is missing.

    Examples:
        >>> exported = export("my-vectors", "anserini", "exported")
        >>> encoder = SaeQueryEncoder("my-model", exported)
        >>> encoder.prepare(["river bank", "young cat"])
        >>> vector = encoder.encode("young cat")

        With an index that was built from these vectors, in a process without Terrier:

        .. code-block:: python

            searcher = LuceneImpactSearcher("INDEX", encoder, min_idf=-1)
            hits = searcher.batch_search(queries, qids, k=1000, threads=2)
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | ConceptModel,
        index: str | os.PathLike[str] | None = None,
        *,
        device: str | None = None,
    ) -> None:
        self._description = None if index is None else Description.read(index)
        self._model = BridgeModel(model, device) if isinstance(model, str | os.PathLike) else model
        if self._description is not None:
            self._description.check(str(self._model), self._model.fingerprint)
        elif self._model.weighting == "idf":
            raise SettingError(
                f"{self._model} requires query weights to be multiplied by idf: pass the index or the exported vectors "
                "that contain the idf values"
            )
        self._prepared: dict[str, dict[str, int]] = {}

    def prepare(self, queries: Iterable[str]) -> None:
        """Encodes queries together and stores their vectors for :meth:`encode`."""
        new = list(dict.fromkeys(query for query in queries if query not in self._prepared))
        self._prepared.update(zip(new, self._encode(new), strict=True))

    def encode(self, text: str, **kwargs: object) -> dict[str, int]:
        """Returns the integer term weights of a query. Other arguments of Pyserini are ignored."""
        prepared = self._prepared.get(text)
        return self._encode([text])[0] if prepared is None else prepared

    def _encode(self, texts: Sequence[str]) -> list[dict[str, int]]:
        vectors = self._model.encode(texts, "query", verbose=False)
        if self._description is None:
            return impacts(vectors, self._model.terms, Quantization(QUERY_SCALE))
        return self._description.query_impacts(vectors)


class SaeDocumentEncoder:
    """A document encoder for ``pyserini.encode``.

    Args:
        model_name: ``sae:`` followed by the folder or hub name of the model.
        device: Where to compute, such as ``cpu``.
        **kwargs: Arguments that Pyserini passes to other encoders. They are ignored.

    Examples:
        >>> SaeDocumentEncoder("sae:my-model").encode(["young cat", ""])[1]
        {}
    """

    def __init__(self, model_name: str, device: str | None = None, **kwargs: object) -> None:
        self._model = BridgeModel(model_name.removeprefix(SCHEME), device)

    def encode(
        self, texts: Sequence[str | None], titles: Sequence[str | None] | None = None, **kwargs: object
    ) -> list[dict[str, int]]:
        """Returns the integer term weights of each text.

        Args:
            texts: The texts.
            titles: Titles to prepend to the texts.
            **kwargs: Pyserini's ``fp16``, ``max_length`` and others. They are ignored, because the model has its own
                lengths and precision.
        """
        if titles is not None:
            texts = [" ".join(filter(None, pair)) for pair in zip(titles, texts, strict=True)]
        return impacts(self._model.encode(texts, "doc", verbose=False), self._model.terms, Quantization())
