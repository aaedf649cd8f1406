"""The base class of all transformers: comparison, printing and display."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import pyterrier as pt

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    from pyterrier_saesplade.impacts import LatentStatistics, Terms
    from pyterrier_saesplade.types import Weighting

#: The page of PyTerrier's documentation that describes the public classes.
_DOCS = "https://pyterrier.readthedocs.io/en/latest/ext/pyterrier-saesplade/api.html"


#: Settings that may be transformers but are not run as part of the pipeline: models, and sources of idf values.
_NOT_RUN = ("model", "statistics", "index")


class CollectionStatistics(Protocol):
    """Statistics of a collection for the weighting of queries, such as an index of concept vectors."""

    @property
    def statistics(self) -> LatentStatistics:
        """The number of documents that contain each latent."""

    @property
    def terms(self) -> Terms:
        """The names of the latents."""

    @property
    def weighting(self) -> Weighting:
        """What query weights are multiplied by in a search."""


class Stage(pt.Transformer):
    """A transformer that stores each argument of its constructor in an attribute of the same name.

    Two stages of the same class are equal if their arguments are equal, except for ``verbose``. A tree-planned
    ``pt.Experiment`` therefore runs them once.
    """

    label: ClassVar[str]
    """The name of the stage in a schematic, at most 20 characters."""

    def _settings(self) -> dict[str, Hashable]:
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters if name != "verbose"}

    def subtransformers(self) -> dict[str, pt.Transformer]:
        """Returns the transformers that the stage runs. Models are transformers too, but are not included."""
        settings = self._settings().items()
        return {name: value for name, value in settings if isinstance(value, pt.Transformer) and name not in _NOT_RUN}

    def __eq__(self, other: object) -> bool:
        """Returns whether the other stage has the same class and the same settings."""
        return type(other) is type(self) and self._settings() == other._settings()

    def __hash__(self) -> int:
        """Returns a hash that agrees with ``==``."""
        return hash((type(self), *self._settings().values()))

    def __repr__(self) -> str:
        """Returns the call of the constructor, without defaults."""
        parameters = inspect.signature(type(self)).parameters
        changed = [f"{name}={value!r}" for name, value in self._settings().items() if value != parameters[name].default]
        return f"{type(self).__name__}({', '.join(changed)})"

    @property
    def schematic(self) -> dict[str, Any]:
        """How notebooks draw the stage."""
        return schematic_of(self.label, type(self).__name__)


def schematic_of(label: str, name: str) -> dict[str, Any]:
    """Returns how notebooks draw a public class. Without the help page, PyTerrier would search for one online.

    Examples:
        >>> schematic_of("Concept scorer", "Scorer")["label"]
        'Concept scorer'
    """
    return {"label": label, "help_url": f"{_DOCS}#pyterrier_saesplade.{name}"}


def in_batches(
    texts: Sequence[str | None], size: int, *, verbose: bool, desc: str, unit: str
) -> Iterator[Sequence[str | None]]:
    """Yields batches of texts, with a progress bar that counts texts.

    Examples:
        >>> list(in_batches(["a", "b", "c"], 2, verbose=False, desc="Encoding", unit="text"))
        [['a', 'b'], ['c']]
    """
    with pt.tqdm(total=len(texts), desc=desc, unit=unit, disable=not verbose) as bar:
        for start in range(0, len(texts), size):
            batch = texts[start : start + size]
            yield batch
            bar.update(len(batch))
