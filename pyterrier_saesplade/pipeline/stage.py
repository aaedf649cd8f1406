"""What every stage of the pipeline shares: comparison, printing, display, and the model that it is given."""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, ClassVar, Protocol

import pyterrier as pt

from pyterrier_saesplade.impacts import LatentStatistics, Terms
from pyterrier_saesplade.types import Weighting

#: The page of PyTerrier's documentation that describes the public classes.
DOCS = "https://pyterrier.readthedocs.io/en/latest/ext/pyterrier-saesplade/api.html"


#: Settings that may be transformers and are not a part of the pipeline: what encodes, and what idf is taken from.
_NOT_RUN = ("model", "statistics", "index")


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

    def subtransformers(self) -> dict[str, pt.Transformer]:
        """Returns the transformers that the stage runs: a model is none of them, although it is a transformer too."""
        settings = self._settings().items()
        return {name: value for name, value in settings if isinstance(value, pt.Transformer) and name not in _NOT_RUN}

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
