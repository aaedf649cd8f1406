"""Queries without a network: each word piece lights what it lights in the documents, in the mean."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pyterrier_saesplade.checks import require_same_model
from pyterrier_saesplade.encoding import look_up
from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.factory import ModelFactory
from pyterrier_saesplade.files import atomic_write, require_new
from pyterrier_saesplade.impacts import Terms
from pyterrier_saesplade.types import Side, Weighting
from pyterrier_saesplade.vectors import ConceptVectors

if TYPE_CHECKING:
    from pyterrier_saesplade.saesplade import SaeSplade


class InferenceFree(ModelFactory):
    """A model whose queries are looked up in a table, so that searching runs no network.

    Documents are encoded by the model, and its indexes are searched as they are. A query is the sum of its word pieces'
    vectors, each the mean over the occurrences of that piece in documents; so the context of a word in the query is
    lost, and effectiveness is paid for speed (see the README). :meth:`SaeSplade.inference_free` makes one. A model that
    this package wrote does not even load its weights for that; a SPLADE checkpoint does.

    Sparse retrieval without inference for queries, by one trained weight per word piece, is of Geng et al. (2024, arXiv
    2411.04403).

    Args:
        model: The model.
        table: A vector for each word piece of its vocabulary.
        verbose: Whether stages made from this model show progress, unless told otherwise.

    Examples:
        >>> fast = model.inference_free(documents)
        >>> fast.save("table.npz")
        >>> fast == InferenceFree.load("table.npz", model)
        True
    """

    def __init__(self, model: SaeSplade, table: ConceptVectors, *, verbose: bool = False) -> None:
        self.model = model
        self.table = table
        self.verbose = verbose

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the table to a file, which :meth:`load` reads; the model is kept on its own.

        Raises:
            FileExistsError: If the file exists.
        """
        path = Path(path)
        require_new(path)
        with atomic_write(path) as partial, partial.open("wb") as file:
            table = self.table
            np.savez_compressed(
                file, indptr=table.indptr, latents=table.latents, weights=table.weights, model=self.model.fingerprint
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str], model: SaeSplade, *, verbose: bool = False) -> InferenceFree:
        """Reads what :meth:`save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ModelMismatchError: If the table was learned for another model.
            ValueError: If the file is not a table of latents.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                owner = str(arrays["model"])
                table = ConceptVectors(arrays["indptr"], arrays["latents"], arrays["weights"])
        except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise SettingError(f"{path} is no table of latents: InferenceFree.save writes one") from error
        require_same_model(str(path), owner, repr(model), model.fingerprint, "learn a table with inference_free")
        return cls(model, table, verbose=verbose)

    @property
    def fingerprint(self) -> str:
        """Identifies the vectors of documents (hexadecimal): the model's."""
        return self.model.fingerprint

    @property
    def weighting(self) -> Weighting:
        """What an index multiplies queries by: as the model."""
        return self.model.weighting

    @property
    def terms(self) -> Terms:
        """The names of the latents."""
        return self.model.terms

    def encode(
        self,
        texts: Sequence[str | None],
        side: Side = "doc",
        *,
        k: int | None = None,
        verbose: bool | None = None,
    ) -> ConceptVectors:
        """Encodes documents by the model, and queries by the table.

        Raises:
            ValueError: If ``k`` is given for queries: a table has the latents that it was learnt with.
        """
        if side == "doc":
            return self.model.encode(texts, side, k=k, verbose=self._wants_progress(verbose))
        if k is not None:
            raise SettingError("k does not apply to queries from a table: learn one with fewer latents per word piece")
        return look_up(self.table, self.model.token_ids(texts, side))

    def __eq__(self, other: object) -> bool:
        """Holds for equal models and tables."""
        return isinstance(other, InferenceFree) and (self.model, self._digest) == (other.model, other._digest)

    def __hash__(self) -> int:
        """Agrees with ``==``."""
        return hash((self.model, self._digest))

    def __repr__(self) -> str:
        """Names the model, and what the table holds."""
        return f"InferenceFree({self.model!r}, {np.count_nonzero(np.diff(self.table.indptr))} word pieces)"

    @cached_property
    def _digest(self) -> str:
        table = self.table
        return sha256(b"".join(each.tobytes() for each in (table.indptr, table.latents, table.weights))).hexdigest()
