"""SAE-SPLADE for PyTerrier: learned sparse retrieval over the concepts of a sparse autoencoder.

The names below are imported at their first use, so that the model alone needs no PyTerrier, and a test collection no
torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyterrier_saesplade.baselines.colbert import ColbertModel, ColbertQueryEncoder, ColbertScorer
    from pyterrier_saesplade.baselines.late_interaction import LateInteraction
    from pyterrier_saesplade.baselines.plaid import PlaidIndex, PlaidIndexer, PlaidRetriever
    from pyterrier_saesplade.collections import open_collection
    from pyterrier_saesplade.concepts.cooccurrence import cooccurrence
    from pyterrier_saesplade.concepts.lexicon import Lexicon
    from pyterrier_saesplade.engines.anserini import AnseriniConceptIndex
    from pyterrier_saesplade.engines.bmp import BmpConceptIndex
    from pyterrier_saesplade.engines.build import ConceptIndexer
    from pyterrier_saesplade.engines.exact import ExactConceptIndex
    from pyterrier_saesplade.engines.milvus import MilvusConceptIndex
    from pyterrier_saesplade.engines.pisa import PisaConceptIndex
    from pyterrier_saesplade.engines.retriever import ConceptRetriever
    from pyterrier_saesplade.engines.seismic import SeismicConceptIndex
    from pyterrier_saesplade.engines.terrier import TerrierConceptIndex
    from pyterrier_saesplade.evaluation.efficiency import add_efficiency, latency, query_costs
    from pyterrier_saesplade.evaluation.experiment import evaluate
    from pyterrier_saesplade.evaluation.inspect import inspect
    from pyterrier_saesplade.evaluation.reproduce import reproduce
    from pyterrier_saesplade.evaluation.search import search
    from pyterrier_saesplade.evaluation.statistics import (
        by_query_length,
        compare,
        randomisation_test,
        wins_and_losses,
    )
    from pyterrier_saesplade.evaluation.suites import evaluate_suite, open_suite
    from pyterrier_saesplade.formats.export import export
    from pyterrier_saesplade.formats.imports import import_vectors
    from pyterrier_saesplade.hybrid import WordsAndConcepts
    from pyterrier_saesplade.impacts import LatentStatistics, Pruning, Quantization
    from pyterrier_saesplade.impacts.words import Words
    from pyterrier_saesplade.inferencefree import InferenceFree
    from pyterrier_saesplade.pipeline import (
        ConceptFeedback,
        DocEncoder,
        LatentWeighting,
        Normalise,
        Prune,
        Quantizer,
        QueryEncoder,
        Scorer,
        Standardise,
    )
    from pyterrier_saesplade.saesplade import SaeSplade
    from pyterrier_saesplade.store.artifact import ConceptStore
    from pyterrier_saesplade.store.encode import encode_corpus
    from pyterrier_saesplade.store.queries import encode_topics, read_queries
    from pyterrier_saesplade.training import FinetuneConfig, PretrainConfig
    from pyterrier_saesplade.training.data import TrainingData
    from pyterrier_saesplade.training.data.sources import read_dataset, read_distillation, read_labels, read_triples
    from pyterrier_saesplade.training.mine import mine
    from pyterrier_saesplade.training.pseudo import pseudo_queries

__version__ = "0.1.0"

__all__ = [
    "AnseriniConceptIndex",
    "BmpConceptIndex",
    "ColbertModel",
    "ColbertQueryEncoder",
    "ColbertScorer",
    "ConceptFeedback",
    "ConceptIndexer",
    "ConceptRetriever",
    "ConceptStore",
    "DocEncoder",
    "ExactConceptIndex",
    "FinetuneConfig",
    "InferenceFree",
    "LateInteraction",
    "LatentStatistics",
    "LatentWeighting",
    "Lexicon",
    "MilvusConceptIndex",
    "Normalise",
    "PisaConceptIndex",
    "PlaidIndex",
    "PlaidIndexer",
    "PlaidRetriever",
    "PretrainConfig",
    "Prune",
    "Pruning",
    "Quantization",
    "Quantizer",
    "QueryEncoder",
    "SaeSplade",
    "Scorer",
    "SeismicConceptIndex",
    "Standardise",
    "TerrierConceptIndex",
    "TrainingData",
    "Words",
    "WordsAndConcepts",
    "add_efficiency",
    "by_query_length",
    "compare",
    "cooccurrence",
    "encode_corpus",
    "encode_topics",
    "evaluate",
    "evaluate_suite",
    "export",
    "import_vectors",
    "inspect",
    "latency",
    "mine",
    "open_collection",
    "open_suite",
    "pseudo_queries",
    "query_costs",
    "randomisation_test",
    "read_dataset",
    "read_distillation",
    "read_labels",
    "read_queries",
    "read_triples",
    "reproduce",
    "search",
    "wins_and_losses",
]

_MODULES = {
    "baselines.colbert": ["ColbertModel", "ColbertQueryEncoder", "ColbertScorer"],
    "baselines.late_interaction": ["LateInteraction"],
    "baselines.plaid": ["PlaidIndex", "PlaidIndexer", "PlaidRetriever"],
    "concepts.cooccurrence": ["cooccurrence"],
    "concepts.lexicon": ["Lexicon"],
    "engines.anserini": ["AnseriniConceptIndex"],
    "engines.bmp": ["BmpConceptIndex"],
    "engines.build": ["ConceptIndexer"],
    "engines.exact": ["ExactConceptIndex"],
    "engines.milvus": ["MilvusConceptIndex"],
    "engines.pisa": ["PisaConceptIndex"],
    "engines.retriever": ["ConceptRetriever"],
    "engines.seismic": ["SeismicConceptIndex"],
    "engines.terrier": ["TerrierConceptIndex"],
    "evaluation.collections": ["open_collection"],
    "evaluation.efficiency": ["add_efficiency", "latency", "query_costs"],
    "evaluation.experiment": ["evaluate"],
    "evaluation.inspect": ["inspect"],
    "evaluation.reproduce": ["reproduce"],
    "evaluation.search": ["search"],
    "evaluation.statistics": ["by_query_length", "compare", "randomisation_test", "wins_and_losses"],
    "evaluation.suites": ["evaluate_suite", "open_suite"],
    "formats.export": ["export"],
    "formats.imports": ["import_vectors"],
    "hybrid": ["WordsAndConcepts"],
    "inferencefree": ["InferenceFree"],
    "impacts": ["LatentStatistics", "Pruning", "Quantization"],
    "impacts.words": ["Words"],
    "pipeline": [
        "ConceptFeedback",
        "DocEncoder",
        "LatentWeighting",
        "Normalise",
        "Prune",
        "Quantizer",
        "QueryEncoder",
        "Scorer",
        "Standardise",
    ],
    "saesplade": ["SaeSplade"],
    "store.artifact": ["ConceptStore"],
    "store.encode": ["encode_corpus"],
    "store.queries": ["encode_topics", "read_queries"],
    "training": ["FinetuneConfig", "PretrainConfig"],
    "training.data": ["TrainingData"],
    "training.data.sources": ["read_dataset", "read_distillation", "read_labels", "read_triples"],
    "training.mine": ["mine"],
    "training.pseudo": ["pseudo_queries"],
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
