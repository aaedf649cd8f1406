"""What every stage of the pipeline shares: comparison, printing, display, and the model that it is given."""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, ClassVar, Literal, Protocol

import pyterrier as pt

from pyterrier_saesplade.encoding.vectors import ConceptVectors
from pyterrier_saesplade.impacts import LatentStatistics, Terms, Weighting
from pyterrier_saesplade.store.model import IndexedModel

#: The page of PyTerrier's documentation that describes the public classes.
DOCS = "https://pyterrier.readthedocs.io/en/latest/ext/pyterrier-saesplade/api.html"


class ConceptModel(IndexedModel, Protocol):
    """What a stage needs of a model; :class:`~pyterrier_saesplade.SaeSplade` is the one that users hold.

    A model compares equal to another that gives the same vectors, and is hashable.
    """

    def encode(
        self,
        texts: Sequence[str | None],
        side: Literal["doc", "query"] = "doc",
        *,
        k: int | None = None,
        verbose: bool | None = None,
    ) -> ConceptVectors:
        """Returns the concept vectors of ``texts``; ``None`` and an empty text have an empty one.

        Stages count texts in a progress bar of their own, and pass ``verbose=False``.
        """

    def as_query(self, documents: ConceptVectors) -> ConceptVectors:
        """Returns vectors of documents as if they were those of queries."""


class CollectionStatistics(Protocol):
    """What a latent weighting needs of a collection; an index of concept vectors is one."""

    @property
    def statistics(self) -> LatentStatistics:
        """How many documents hold each latent."""

    @property
    def terms(self) -> Terms:
        """The names of the latents."""

    @property
    def weighting(self) -> Weighting:
        """What its searches multiply queries by."""


class Stage(pt.Transformer):
    """A transformer that is determined by its constructor's arguments, each kept in an attribute of the same name.

    Two stages of one class with equal arguments are equal (``verbose`` aside), so that a tree-planned
    ``pt.Experiment`` runs them once.
    """

    label: ClassVar[str]
    """What the stage is called in a schematic, 20 characters at most."""

    def _settings(self) -> dict[str, Hashable]:
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters if name != "verbose"}

    def __eq__(self, other: object) -> bool:
        """Holds for a stage of the same class with the same settings."""
        return type(other) is type(self) and self._settings() == other._settings()

    def __hash__(self) -> int:
        """Agrees with ``==``."""
        return hash((type(self), *self._settings().values()))

    def __repr__(self) -> str:
        """Returns the constructor's call, defaults left out."""
        parameters = inspect.signature(type(self)).parameters
        changed = [f"{name}={value!r}" for name, value in self._settings().items() if value != parameters[name].default]
        return f"{type(self).__name__}({', '.join(changed)})"

    @property
    def schematic(self) -> dict[str, Any]:
        """How notebooks draw the stage. The help page is named, for PyTerrier would look for it online."""
        name = type(self).__name__
        return {"label": self.label, "help_url": f"{DOCS}#pyterrier_saesplade.{name}"}


def windows(
    texts: Sequence[str | None], size: int, *, verbose: bool, desc: str, unit: str
) -> Iterator[Sequence[str | None]]:
    """Cuts ``texts`` into windows of ``size``, with a progress bar that counts texts."""
    with pt.tqdm(total=len(texts), desc=desc, unit=unit, disable=not verbose) as bar:
        for start in range(0, len(texts), size):
            window = texts[start : start + size]
            yield window
            bar.update(len(window))


def require_positive(**settings: int | None) -> None:
    """Raises a :exc:`ValueError` that names the first setting that is neither ``None`` nor a positive integer."""
    for name, value in settings.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ValueError(f"{name} must be a positive integer, not {value!r}")
