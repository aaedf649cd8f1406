"""Encodes queries by table: a word piece activates the latents that it activates in documents on average."""

from __future__ import annotations

import zipfile
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pyterrier_saesplade.checks import require_same_model
from pyterrier_saesplade.encoding import look_up
from pyterrier_saesplade.errors import DataError, PathNotFoundError, SettingError
from pyterrier_saesplade.factory import ModelFactory
from pyterrier_saesplade.files import atomic_write, require_new
from pyterrier_saesplade.vectors import ConceptVectors

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from pyterrier_saesplade.impacts import Terms
    from pyterrier_saesplade.saesplade import SaeSplade
    from pyterrier_saesplade.types import Side, Weighting


class InferenceFree(ModelFactory):
    """A model that looks up queries in a table, so that searches do not run the encoder.

    Documents are encoded by the model, and its existing indexes can be searched. The vector of a query is the sum of
    the vectors of its word pieces. The vector of a word piece is its mean over the occurrences in documents. The
    context of a word in the query is therefore lost: searches are faster but less effective (the page on results has
    figures). Create one with :meth:`SaeSplade.inference_free`. To encode queries, a model that this package wrote does
    not load its weights; a SPLADE checkpoint does.

    Geng et al. (2024, arXiv 2411.04403) introduced inference-free sparse retrieval with one trained weight per word
    piece.

    Args:
        model: The model.
        table: A vector for each word piece of the vocabulary.
        verbose: Whether transformers created from this model show progress by default.

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
        """Writes the table to a file that :meth:`load` reads. The model is not included.

        Raises:
            PathExistsError: If the file exists.
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
        """Reads a table that :meth:`save` wrote.

        Raises:
            PathNotFoundError: If there is no such file.
            ModelMismatchError: If the table was learned for another model.
            DataError: If the file is not a table of latents.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                owner = str(arrays["model"])
                table = ConceptVectors(arrays["indptr"], arrays["latents"], arrays["weights"])
        except FileNotFoundError as error:
            raise PathNotFoundError(f"there is no table of latents at {path}") from error
        except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} is not a table of latents: write one with InferenceFree.save") from error
        require_same_model(str(path), owner, repr(model), model.fingerprint, "learn a table with inference_free")
        return cls(model, table, verbose=verbose)

    @property
    def fingerprint(self) -> str:
        """Identifies the document vectors (hexadecimal); the same as for the model."""
        return self.model.fingerprint

    @property
    def weighting(self) -> Weighting:
        """What an index multiplies query weights by; the same as for the model."""
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
        """Encodes documents with the model, and queries with the table.

        Raises:
            SettingError: If ``k`` is given for queries, because the number of latents in a table is fixed.
        """
        if side == "doc":
            return self.model.encode(texts, side, k=k, verbose=self._wants_progress(verbose))
        if k is not None:
            raise SettingError(
                "k does not apply to queries from a table: learn another table with fewer latents per word piece"
            )
        return look_up(self.table, self.model.token_ids(texts, side))

    def __eq__(self, other: object) -> bool:
        """Returns whether models and tables are equal."""
        return isinstance(other, InferenceFree) and (self.model, self._digest) == (other.model, other._digest)

    def __hash__(self) -> int:
        """Returns a hash that agrees with ``==``."""
        return hash((self.model, self._digest))

    def __repr__(self) -> str:
        """Returns the model, and the number of word pieces in the table."""
        return f"InferenceFree({self.model!r}, {np.count_nonzero(np.diff(self.table.indptr))} word pieces)"

    @cached_property
    def _digest(self) -> str:
        table = self.table
        return sha256(b"".join(each.tobytes() for each in (table.indptr, table.latents, table.weights))).hexdigest()
