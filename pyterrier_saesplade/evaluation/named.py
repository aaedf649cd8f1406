"""Systems by the names that a command line knows them by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pyterrier_saesplade.evaluation.hybrids import Feedback, Fused, WordsConcepts
from pyterrier_saesplade.evaluation.latesystems import Colbert, ColbertReranker, LateInteractionSystem
from pyterrier_saesplade.evaluation.peers import AnseriniBm25, AnseriniRm3, PtSplade
from pyterrier_saesplade.evaluation.systems import Bm25, Concepts, Dense, Rm3, System
from pyterrier_saesplade.model import SaeSpladeConfig
from pyterrier_saesplade.saesplade import SaeSplade

#: What the name of a SPLADE checkpoint begins with where a SAE-SPLADE model could be named too.
SPLADE = "splade="

#: The systems, and what may be said of each: whether a source is needed (``None``: allowed), and the options.
_KINDS: dict[str, tuple[bool | None, tuple[str, ...]]] = {
    "bm25": (False, ()),
    "rm3": (False, ()),
    "dense": (None, ("doc_max_length",)),
    "splade": (True, ("k", "doc_max_length", "query_max_length", "engine")),
    "saesplade": (None, ("k", "width", "doc_max_length", "query_max_length", "engine")),
    "words+concepts": (False, ("balance",)),
    "sum": (False, ()),
    "rrf": (False, ()),
    "feedback": (False, ()),
    "pt-splade": (True, ("max_length",)),
    "anserini-bm25": (False, ()),
    "anserini-rm3": (False, ()),
    "late-interaction": (None, ("depth", "doc_max_length", "query_max_length")),
    "colbert": (True, ("doc_max_length", "query_max_length")),
    "colbert-rerank": (True, ("depth", "doc_max_length", "query_max_length")),
}


#: Options as the names of lines have them.
_SHORT = {"doc_max_length": "doc", "query_max_length": "query", "max_length": ""}

#: Word pieces of a text that a bi-encoder of one's own reads, unless told otherwise.
DENSE_LENGTH = 256


def open_model(name: str, **settings: Any) -> SaeSplade:
    """Opens a SAE-SPLADE model by its folder or hub name, or a SPLADE checkpoint, written ``splade=NAME``."""
    if name.startswith(SPLADE):
        return SaeSplade.from_splade(name.removeprefix(SPLADE), **settings)
    return SaeSplade.from_pretrained(name, **settings)


def check_baselines(baselines: Iterable[str]) -> None:
    """Makes sure that baselines are written as :func:`make_systems` takes them, before there is a model.

    Raises:
        ValueError: If one is not.
    """
    for name in baselines:
        _parsed(name)


def make_systems(baselines: Iterable[str], model: SaeSplade, language: str = "en") -> list[System]:
    """Makes the systems of a comparison: the baselines, and last the model, called ``saesplade`` or ``splade``.

    A baseline is written ``KIND``, ``KIND=SOURCE`` or ``KIND=SOURCE,OPTION=VALUE,…``:

    * ``bm25``: Terrier's, and ``rm3``: with RM3;
    * ``dense``: a bi-encoder through ``pyterrier_dr``: the backbone of ``model``, or any other (folder or hub name);
    * ``splade=SOURCE``: any SPLADE checkpoint, through the encoder and index of ``model``, as it is or with ``k=8``;
    * ``saesplade=SOURCE``: a further model; without a source ``model`` itself, with other options: ``saesplade,k=5``;
    * ``words+concepts``: BM25's words and the concepts of ``model`` in one index (``balance=4``);
    * ``sum`` and ``rrf``: BM25 and ``model`` fused, by normalised scores and by reciprocal ranks;
    * ``feedback``: ``model`` with concept feedback;
    * ``pt-splade=SOURCE``: any SPLADE checkpoint, through pyterrier-splade's encoder (``max_length=256``) and Terrier;
    * ``anserini-bm25``: Anserini's BM25, which is Pyserini's, and ``anserini-rm3``: with RM3;
    * ``late-interaction``: BM25's first 100 results (``depth=100``), re-ranked by the token states of the backbone of
      ``model``, or of any other encoder;
    * ``colbert=SOURCE``: any ColBERT checkpoint over its PLAID index, ``colbert-rerank=SOURCE``: over BM25's results.

    Options are ``k``, ``width``, ``doc_max_length``, ``query_max_length`` and ``engine``; the line's name says them.
    Lengths that are set on ``model``, in place of its own, hold for all systems whose options say nothing else. What a
    baseline needs and is not there is an error here, before anything is indexed.

    Args:
        baselines: Their names.
        model: The model that is compared.
        language: That of documents and queries, two letters.

    Raises:
        FileNotFoundError: If there is no model at a source.
        ImportError: If what a baseline needs is not installed.
        JavaNotFoundError: If there is no Java of version 21 or later, which Anserini needs.
        ValueError: If a baseline is none of these or does not know the language, or two systems have one name.
    """
    if isinstance(baselines, str):
        raise ValueError(f"baselines must be a list, such as [{baselines!r}]")
    baselines = list(baselines)
    compared = Concepts("saesplade" if model.head == "sae" else "splade", model)
    sources = {(kind, source) for kind, source, _ in map(_parsed, baselines)}
    checkpoints = Counter(kind for kind, _ in sources)
    checkpoints["splade"] += model.head == "mlm"
    several = {kind for kind, count in checkpoints.items() if count > 1}
    maker = _Maker(model, language, several)
    systems = [*map(maker.baseline, baselines), compared]
    repeated = [name for name, count in Counter(system.name for system in systems).items() if count > 1]
    if repeated:
        raise ValueError(f"the system {repeated[0]} is given twice, or two folders have that name")
    return systems


@dataclass(frozen=True)
class _Maker:
    """Makes the baselines of a comparison.

    Attributes:
        model: What is compared.
        language: That of documents and queries.
        several: The kinds of which several checkpoints are compared: each is then called by its folder.
    """

    model: SaeSplade
    language: str
    several: set[str]

    def baseline(self, name: str) -> System:
        kind, source, options = _parsed(name)
        called = self._called(kind, source, options)
        makers: dict[str, Callable[[], System]] = {
            "bm25": lambda: Bm25(self.language),
            "rm3": lambda: Rm3(self.language),
            "dense": lambda: self._dense(source, options, called),
            "splade": lambda: self._concepts(SaeSplade.from_splade, source, options, called),
            "saesplade": lambda: self._concepts(SaeSplade.from_pretrained, source, options, called),
            "words+concepts": lambda: WordsConcepts(self.model, language=self.language, name=called, **options),
            "sum": lambda: Fused(self.model, "sum", self.language),
            "rrf": lambda: Fused(self.model, "rrf", self.language),
            "feedback": lambda: Feedback(self.model),
            "pt-splade": lambda: self._pt_splade(str(source), options, called),
            "anserini-bm25": lambda: self._english(AnseriniBm25, kind),
            "anserini-rm3": lambda: self._english(AnseriniRm3, kind),
            "late-interaction": lambda: self._late_interaction(source, options, called),
            "colbert": lambda: Colbert(str(source), name=called, **self._lengths() | options),
            "colbert-rerank": lambda: ColbertReranker(
                str(source), name=called, language=self.language, **self._lengths() | options
            ),
        }
        return makers[kind]()

    def _called(self, kind: str, source: str | None, options: dict[str, Any]) -> str:
        """The kind; the folder, where that alone tells two lines apart; the options, the engine last."""
        folder = [Path(source).absolute().name] if source and (_KINDS[kind][0] is None or kind in self.several) else []
        shown = [f"{_SHORT.get(name, name)}{value}" for name, value in options.items() if name != "engine"]
        engine = [options["engine"]] if options.get("engine", "terrier") != "terrier" else []
        return "-".join([kind, *folder, *shown, *engine])

    def _lengths(self) -> dict[str, int]:
        """The lengths that were set for the comparison, in place of the models' own, hold for all its systems."""
        lengths = {name: getattr(self.model, name) for name in ("doc_max_length", "query_max_length")}
        return {name: length for name, length in lengths.items() if length is not None}

    def _concepts(
        self, open_source: Callable[..., SaeSplade], source: str | None, options: dict[str, Any], called: str
    ) -> Concepts:
        settings = {name: value for name, value in options.items() if name != "engine"}
        opened = open_source(source, **self._lengths() | settings) if source else self.model.replace(**settings)
        return Concepts(called, opened, options.get("engine", "terrier"))

    def _dense(self, source: str | None, options: dict[str, Any], called: str) -> Dense:
        own = DENSE_LENGTH if source else _sae_config(self.model, "dense").doc_max_length
        settings = self._lengths() | options
        return Dense(source or self._backbone("dense"), settings.get("doc_max_length", own), called)

    def _late_interaction(self, source: str | None, options: dict[str, Any], called: str) -> LateInteractionSystem:
        own = {} if source else {"doc_max_length": _sae_config(self.model, "late-interaction").doc_max_length}
        settings = own | self._lengths() | options
        backbone = source or self._backbone("late-interaction")
        return LateInteractionSystem(backbone, language=self.language, name=called, **settings)

    def _pt_splade(self, source: str, options: dict[str, Any], called: str) -> PtSplade:
        # It has one length for both sides.
        lengths = self._lengths()
        longest = {"max_length": max(lengths.values())} if lengths else {}
        return PtSplade(source, called, **longest | options)

    def _backbone(self, kind: str) -> str:
        return _sae_config(self.model, kind).backbone

    def _english(self, system: Callable[[], System], kind: str) -> System:
        if self.language != "en":
            raise ValueError(f"the baseline {kind!r} is for English, not for {self.language!r}: leave it out")
        return system()


def _parsed(name: str) -> tuple[str, str | None, dict[str, Any]]:
    """Takes ``KIND=SOURCE,OPTION=VALUE`` apart."""
    first, *assignments = name.split(",")
    kind, equals, source = first.partition("=")
    if kind not in _KINDS:
        raise ValueError(f"{name!r} is no baseline: give one of {', '.join(_KINDS)}, such as splade=FOLDER")
    needs_source, known = _KINDS[kind]
    if needs_source and not source:
        raise ValueError(f"{name!r}: {kind} needs a folder or hub name, such as {kind}=FOLDER")
    if equals and not source:
        raise ValueError(f"{name!r}: nothing stands after the =")
    if source and needs_source is False:
        raise ValueError(f"{name!r}: {kind} takes no source")
    options = {}
    for assignment in assignments:
        option, equals, value = assignment.partition("=")
        if option not in known or not value:
            raise ValueError(f"{name!r}: {kind} has the options {', '.join(known) or 'none'}, written OPTION=VALUE")
        options[option] = yaml.safe_load(value)
    return kind, source or None, options


def _sae_config(model: SaeSplade, kind: str) -> SaeSpladeConfig:
    if model.head != "sae":
        raise ValueError(f"the baseline {kind!r} uses a SAE-SPLADE model's backbone, and a SPLADE model has none")
    return SaeSpladeConfig.from_pretrained(model.source)
