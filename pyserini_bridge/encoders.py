"""Our models as Pyserini's encoders: one text to a dictionary of integers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from pyserini_bridge.model import BridgeModel
from pyterrier_saesplade.engines import QUERY_SCALE, Description, impacts
from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.impacts import Quantization
from pyterrier_saesplade.protocols import ConceptModel

#: What an encoder's name begins with in Pyserini's commands.
SCHEME = "sae:"


class SaeQueryEncoder:
    """A query encoder for Pyserini's ``LuceneImpactSearcher``.

    Pyserini asks for one query at a time. :meth:`prepare` encodes many together beforehand, which is several times
    faster.

    Args:
        model: Folder or hub name (``splade=NAME`` for a SPLADE checkpoint), or a model that is open.
        index: The index, or the exported vectors that it was made of: it says which model encoded the documents, and
            what queries are multiplied by. ``None``: neither is known, and nothing is.
        device: Where to compute; ``None``: the first GPU, else the CPU.

    Raises:
        FileNotFoundError: If ``index`` does not say how its vectors were made.
        ValueError: If another model encoded the documents, or the model wants queries multiplied by latents' idf, and
            there is no ``index`` that has it.

    Examples:
        >>> exported = export("my-vectors", "anserini", "exported")
        >>> encoder = SaeQueryEncoder("my-model", exported)
        >>> encoder.prepare(["river bank", "young cat"])
        >>> vector = encoder.encode("young cat")

        With an index that was made of these vectors, in a process without Terrier:

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
                f"queries of {self._model} are multiplied by the idf of their latents: name the index, or the exported "
                "vectors, that have it"
            )
        self._prepared: dict[str, dict[str, int]] = {}

    def prepare(self, queries: Iterable[str]) -> None:
        """Encodes queries together, and remembers their vectors."""
        new = list(dict.fromkeys(query for query in queries if query not in self._prepared))
        self._prepared.update(zip(new, self._encode(new), strict=True))

    def encode(self, text: str, **kwargs: object) -> dict[str, int]:
        """Returns the weights of a query's pseudo-terms; ``kwargs`` are Pyserini's and mean nothing here."""
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
        model_name: ``sae:`` and the model's folder or hub name.
        device: Where to compute, such as ``cpu``.
        **kwargs: Pyserini's for other encoders, which mean nothing here.
    """

    def __init__(self, model_name: str, device: str | None = None, **kwargs: object) -> None:
        self._model = BridgeModel(model_name.removeprefix(SCHEME), device)

    def encode(
        self, texts: Sequence[str | None], titles: Sequence[str | None] | None = None, **kwargs: object
    ) -> list[dict[str, int]]:
        """Returns the weights of each text's pseudo-terms.

        Args:
            texts: The texts.
            titles: Their titles, which go before them.
            **kwargs: Pyserini's ``fp16``, ``max_length`` and others: the model has lengths and precision of its own.
        """
        if titles is not None:
            texts = [" ".join(filter(None, pair)) for pair in zip(titles, texts, strict=True)]
        return impacts(self._model.encode(texts, "doc", verbose=False), self._model.terms, Quantization())
