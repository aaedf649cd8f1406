"""How the files of this folder declare the kinds of systems that they make."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.model import SaeSpladeConfig
from pyterrier_saesplade.saesplade import SaeSplade

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pyterrier_saesplade.evaluation.systems.base import System


@dataclass(frozen=True)
class Kind:
    """A kind of system.

    Attributes:
        name: The first part of the names of such systems.
        make: A function that makes a system from a parsed name.
        help: A description in one line.
        source: What follows ``=`` in a name, in capitals; ``None`` if the kind takes no source.
        needs_source: Whether a source is required. If not, the kind has a default, usually the compared model.
        options: The type of each option.
    """

    name: str
    make: Callable[[Given], System]
    help: str
    source: str | None
    needs_source: bool
    options: Mapping[str, Any]

    @property
    def usage(self) -> str:
        """The syntax of names, such as ``dense[=ENCODER]``."""
        if self.source is None:
            return self.name
        return f"{self.name}={self.source}" if self.needs_source else f"{self.name}[={self.source}]"


@dataclass(frozen=True)
class Given:
    """A parsed name of a system, with the comparison that it belongs to.

    Attributes:
        kind: The name of the kind.
        source: The source; ``None`` for the default of the kind.
        options: The given options, validated.
        label: The name of the row in the table.
        language: The language of documents and queries, as two letters.
        compared: The model that is compared; ``None`` if there is none, for example when mining training data.
    """

    kind: str
    source: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""
    language: str = "en"
    compared: SaeSplade | None = None

    @property
    def lengths(self) -> dict[str, int]:
        """The lengths that were set for the comparison; they override the lengths of all models in it."""
        lengths = {name: getattr(self.compared, name, None) for name in ("doc_max_length", "query_max_length")}
        return {name: length for name, length in lengths.items() if length is not None}

    def model(self, open_source: Callable[..., SaeSplade] = SaeSplade.from_pretrained, **settings: Any) -> SaeSplade:
        """Returns the model of the source with some settings; without a source, the compared model.

        Raises:
            SettingError: If there is neither a source nor a compared model.
        """
        if self.source is not None:
            return open_source(self.source, **self.lengths | settings)
        if self.compared is None:
            raise SettingError(f"{self.kind} needs a model here: write {self.kind}=FOLDER")
        return self.compared.replace(**settings) if settings else self.compared

    def backbone(self) -> SaeSpladeConfig:
        """Returns the configuration of the compared model. Its backbone is the default source of some kinds.

        Raises:
            SettingError: If there is no compared model, or it is not a SAE-SPLADE model.
        """
        if self.compared is None:
            raise SettingError(f"{self.kind} needs an encoder here: write {self.kind}=NAME")
        if self.compared.head != "sae":
            raise SettingError(
                f"{self.kind} takes the backbone of a SAE-SPLADE model, but {self.compared!r} is a SPLADE model: "
                f"write {self.kind}=NAME"
            )
        return SaeSpladeConfig.from_pretrained(self.compared.source)

    def require_english(self) -> None:
        """Raises :exc:`SettingError` unless the collection is in English."""
        if self.language != "en":
            raise SettingError(f"{self.kind} works for English only, not for {self.language!r}: leave it out")


#: All declared kinds by name.
KINDS: dict[str, Kind] = {}


def system_kind(
    name: str,
    *,
    help: str,
    source: str | None = None,
    needs_source: bool = False,
    options: Mapping[str, Any] | None = None,
) -> Callable[[Callable[[Given], System]], Callable[[Given], System]]:
    """Declares a kind of system, as a decorator of the function that makes it. See :class:`Kind` for the arguments.

    Examples:
        >>> @system_kind("first-pass", source="MODEL", help="a model with few latents per token")
        ... def _first_pass(given: Given) -> System:
        ...     return ConceptSystem("first-pass", given.model(k=2))
        >>> KINDS["first-pass"].usage
        'first-pass[=MODEL]'
    """

    def declare(make: Callable[[Given], System]) -> Callable[[Given], System]:
        KINDS[name] = Kind(name, make, help, source, needs_source, options or {})
        return make

    return declare
