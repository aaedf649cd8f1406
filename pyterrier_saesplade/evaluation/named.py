"""Systems by the names that a command line knows them by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
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


#: Word pieces of a text that a bi-encoder of one's own reads, unless told otherwise.
_DENSE_LENGTH = 256


def open_model(name: str, **settings: Any) -> SaeSplade:
    """Opens a SAE-SPLADE model by its folder or hub name, or a SPLADE checkpoint, written ``splade=NAME``."""
    if name.startswith(SPLADE):
        return SaeSplade.from_splade(name.removeprefix(SPLADE), **settings)
    return SaeSplade.from_pretrained(name, **settings)


def make_systems(baselines: Iterable[str], model: SaeSplade) -> list[System]:
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
    What a baseline needs and is not installed is an error here, before anything is indexed.

    Args:
        baselines: Their names.
        model: The model that is compared.

    Raises:
        ImportError: If what a baseline needs is not installed.
        JavaNotFoundError: If there is no Java of version 21 or later, which Anserini needs.
        ValueError: If a baseline is none of these, or two systems have one name.
    """
    if isinstance(baselines, str):
        raise ValueError(f"baselines must be a list, such as [{baselines!r}]")
    baselines = list(baselines)
    compared = Concepts("saesplade" if model.head == "sae" else "splade", model)
    sources = {(kind, source) for kind, source, _ in map(_parsed, baselines)}
    checkpoints = Counter(kind for kind, _ in sources)
    checkpoints["splade"] += model.head == "mlm"
    several = {kind for kind, count in checkpoints.items() if count > 1}
    systems = [*(_baseline(name, model, several) for name in baselines), compared]
    repeated = [name for name, count in Counter(system.name for system in systems).items() if count > 1]
    if repeated:
        raise ValueError(f"the system {repeated[0]} is given twice, or two folders have that name")
    return systems


def _baseline(name: str, model: SaeSplade, several: set[str]) -> System:
    """Makes a baseline; where several SPLADE checkpoints are of one kind, each is called by its folder."""
    kind, source, options = _parsed(name)
    if kind in ("splade", "saesplade"):
        return _concepts(kind, source, options, model, kind in several)
    if kind == "pt-splade":
        return _pt_splade(str(source), options, kind in several)
    if kind == "dense":
        length = options.get("doc_max_length") or (_DENSE_LENGTH if source else _doc_max_length(model, kind))
        return Dense(source or _backbone(model, kind), length)
    if kind == "late-interaction":
        lengths = {} if source else {"doc_max_length": _doc_max_length(model, kind)}
        return LateInteractionSystem(source or _backbone(model, kind), **lengths | options)
    makers: dict[str, Callable[[], System]] = {
        "bm25": Bm25,
        "rm3": Rm3,
        "words+concepts": lambda: WordsConcepts(model, **options),
        "sum": lambda: Fused(model, "sum"),
        "rrf": lambda: Fused(model, "rrf"),
        "feedback": lambda: Feedback(model),
        "anserini-bm25": AnseriniBm25,
        "anserini-rm3": AnseriniRm3,
        "colbert": lambda: Colbert(str(source), **options),
        "colbert-rerank": lambda: ColbertReranker(str(source), **options),
    }
    return makers[kind]()


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


def _concepts(kind: str, source: str | None, options: dict[str, Any], model: SaeSplade, several: bool) -> Concepts:
    engine = options.pop("engine", "terrier")
    if kind == "splade":
        assert source is not None
        opened = SaeSplade.from_splade(source, **options)
        called = f"splade-{Path(source).absolute().name}" if several else "splade"
    else:
        opened = SaeSplade.from_pretrained(source, **options) if source else model.replace(**options)
        called = f"saesplade-{Path(source).absolute().name}" if source else "saesplade"
    shown = [f"{option.replace('_max_length', '')}{value}" for option, value in options.items()]
    return Concepts("-".join([called, *shown, *([engine] if engine != "terrier" else [])]), opened, engine)


def _pt_splade(source: str, options: dict[str, Any], several: bool) -> PtSplade:
    called = ["pt-splade", *([Path(source).absolute().name] if several else [])]
    return PtSplade(source, "-".join([*called, *map(str, options.values())]), **options)


def _backbone(model: SaeSplade, kind: str) -> str:
    return _sae_config(model, kind).backbone


def _doc_max_length(model: SaeSplade, kind: str) -> int:
    return model.doc_max_length or _sae_config(model, kind).doc_max_length


def _sae_config(model: SaeSplade, kind: str) -> SaeSpladeConfig:
    if model.head != "sae":
        raise ValueError(f"the baseline {kind!r} uses a SAE-SPLADE model's backbone, and a SPLADE model has none")
    return SaeSpladeConfig.from_pretrained(model.source)
