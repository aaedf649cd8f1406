"""The systems that a comparison puts side by side: how each indexes, searches, and what its scoring costs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyterrier as pt

from pyterrier_saesplade.engines.spool import java_length
from pyterrier_saesplade.engines.terrier import TerrierConceptIndex
from pyterrier_saesplade.evaluation.collections import Collection, check_identifier
from pyterrier_saesplade.evaluation.measures import qd_flops
from pyterrier_saesplade.model import SaeSpladeConfig
from pyterrier_saesplade.model.digest import weights_digest
from pyterrier_saesplade.saesplade import SaeSplade

if TYPE_CHECKING:
    from pyterrier_dr import SBertBiEncoder

#: The depth of every run.
NUM_RESULTS = 1000

BM25_K1, BM25_B = 0.9, 0.4


@dataclass(frozen=True)
class Corpus:
    """A collection's documents, read once.

    Attributes:
        collection: Where they come from.
        digest: SHA-256 of all docnos and texts, in order.
        n_docs: How many there are.
        docno_length: Of the longest docno, in UTF-16 units, which is how Java counts.
    """

    collection: Collection
    digest: str
    n_docs: int
    docno_length: int

    @classmethod
    def read(cls, collection: Collection) -> Corpus:
        """Reads all documents once.

        Raises:
            ValueError: If there are none, or a docno cannot stand in a run file.
        """
        digest, n_docs, docno_length = sha256(), 0, 0
        for document in collection.get_corpus_iter():
            check_identifier(f"documents of {collection.name}", "docno", document["docno"])
            digest.update(f"{document['docno']}\t{len(document['text'])}\t{document['text']}\n".encode())
            n_docs += 1
            docno_length = max(docno_length, java_length(document["docno"]))
        if n_docs == 0:
            raise ValueError(f"the collection {collection.name} has no documents")
        return cls(collection, digest.hexdigest(), n_docs, docno_length)

    def documents(self) -> Iterator[dict[str, str]]:
        """Yields ``docno`` and ``text`` (which begins with the title), what every system indexes."""
        for document in self.collection.get_corpus_iter():
            yield {"docno": document["docno"], "text": document["text"]}


class System(ABC):
    """A line of the table.

    Attributes:
        name: What the line is called.
        note: What it is, settings included, for the foot of the table.
    """

    name: str
    note: str

    @property
    @abstractmethod
    def identity(self) -> str:
        """Everything but the documents that an index depends on: with equal ones, an index is used again."""

    @abstractmethod
    def build(self, corpus: Corpus, path: Path) -> None:
        """Indexes a corpus at ``path``, which does not exist."""

    @abstractmethod
    def stages(self, path: Path) -> tuple[pt.Transformer, pt.Transformer]:
        """Returns how the index at ``path`` is searched: what encodes queries, and what retrieves for them."""

    @abstractmethod
    def qd_flops(self, path: Path, queries: Sequence[str]) -> float | None:
        """Returns the QD-FLOPs of these queries, ``None`` for a system that has no inverted index."""


class Concepts(System):
    """Concept vectors (or SPLADE's, which are the same with another head) in Terrier.

    Args:
        name: What the line is called.
        model: The model.
    """

    def __init__(self, name: str, model: SaeSplade) -> None:
        self.name = name
        self.model = model
        self.note = f"{name}: {model!r}, weighting {model.weighting}, in Terrier"

    @property
    def identity(self) -> str:
        """The model's fingerprint (weights, document-side settings), and the defaults that an index is built with."""
        quantization = TerrierConceptIndex.default_quantization
        return f"terrier {self.model.fingerprint}, {quantization}, weighting {self.model.weighting}"

    def build(self, corpus: Corpus, path: Path) -> None:
        """Encodes and indexes the corpus."""
        self.model.indexer(str(path)).index(corpus.documents())

    def stages(self, path: Path) -> tuple[pt.Transformer, pt.Transformer]:
        """The query encoder, and Terrier over pseudo-terms (latent weighting and quantisation are its part)."""
        return self.model.query_encoder(), TerrierConceptIndex(path).retriever(num_results=NUM_RESULTS)

    def qd_flops(self, path: Path, queries: Sequence[str]) -> float:
        """Counts latents of the queries as encoded, and of the documents as indexed."""
        statistics = TerrierConceptIndex(path).statistics
        encoded = self.model.encode(queries, side="query")
        query_df = np.bincount(encoded.latents, minlength=len(statistics.df))
        return qd_flops(query_df, len(queries), statistics.df, statistics.n_docs)


class Words(System):
    """Terrier's BM25 over stemmed words, with k1 = 0.9 and b = 0.4, the usual baseline of learned sparse retrieval."""

    name = "bm25"
    note = f"bm25: Terrier's, k1 {BM25_K1}, b {BM25_B}, Porter stemmer, Terrier's stop words, title and text together"
    identity = "terrier words, porter, stop words"

    def build(self, corpus: Corpus, path: Path) -> None:
        """Indexes the words of the corpus."""
        indexer = pt.terrier.TerrierIndex(str(path)).indexer(meta={"docno": corpus.docno_length})
        indexer.index(corpus.documents())

    def stages(self, path: Path) -> tuple[pt.Transformer, pt.Transformer]:
        """Nothing to encode; punctuation, syntax in Terrier's query language, is taken out before retrieval."""
        bm25 = pt.terrier.TerrierIndex(str(path)).bm25(k1=BM25_K1, b=BM25_B, num_results=NUM_RESULTS)
        return pt.Transformer.identity(), pt.rewrite.tokenise() >> bm25

    def qd_flops(self, path: Path, queries: Sequence[str]) -> float:
        """Counts words after stopping and stemming, which the documents of the index hold."""
        index = pt.terrier.TerrierIndex(str(path)).index_obj()
        stop_words = pt.java.autoclass("org.terrier.terms.Stopwords")(None)
        stem = pt.terrier.TerrierStemmer.porter.stem
        query_df: Counter[str] = Counter()
        for query in pt.rewrite.tokenise().transform(pt.new.queries(list(queries)))["query"]:
            query_df.update({stem(word) for word in query.split() if not stop_words.isStopword(word)})
        lexicon = index.getLexicon()
        entries = ((count, lexicon.getLexiconEntry(word)) for word, count in query_df.items())
        known = [(count, entry.getDocumentFrequency()) for count, entry in entries if entry is not None]
        n_docs = index.getCollectionStatistics().getNumberOfDocuments()
        return qd_flops([count for count, _ in known], len(queries), [df for _, df in known], n_docs)


class Dense(System):
    """A bi-encoder of ``pyterrier_dr``, one vector for each text, searched exhaustively.

    Args:
        backbone: A sentence-transformers model, hub name or folder.
        max_length: Texts are cut at this many word pieces.

    Raises:
        ImportError: If ``pyterrier_dr`` is not installed.
    """

    name = "dense"

    def __init__(self, backbone: str, max_length: int) -> None:
        try:
            import pyterrier_dr
        except ImportError as error:
            message = "the baseline 'dense' needs pyterrier_dr: pip install 'pyterrier_saesplade[dense]'"
            raise ImportError(message) from error
        self._dr = pyterrier_dr
        self.backbone = backbone
        self.max_length = max_length
        self.note = f"dense: pyterrier_dr, {backbone}, texts cut at {max_length} word pieces, exhaustive search"

    @cached_property
    def encoder(self) -> SBertBiEncoder:
        """The bi-encoder, loaded at first use."""
        encoder = self._dr.SBertBiEncoder(self.backbone)
        encoder.model.max_seq_length = self.max_length
        return encoder

    @property
    def identity(self) -> str:
        """The weights and the length at which texts are cut."""
        return f"flex {weights_digest(self.encoder.model)} {self.max_length}"

    def build(self, corpus: Corpus, path: Path) -> None:
        """Encodes the corpus into a FLEX index."""
        (self.encoder.doc_encoder(batch_size=256) >> self._index(path)).index(corpus.documents())

    def stages(self, path: Path) -> tuple[pt.Transformer, pt.Transformer]:
        """The query encoder, and the inner products with all documents."""
        retriever = self._index(path).np_retriever(num_results=NUM_RESULTS, drop_query_vec=True)
        return self.encoder.query_encoder(), retriever

    def scorer(self, path: Path) -> pt.Transformer:
        """What scores results again, by the vectors in the index."""
        pipeline: pt.Transformer = self.encoder.query_encoder() >> self._index(path).np_scorer()
        return pipeline

    def qd_flops(self, path: Path, queries: Sequence[str]) -> None:
        """Dense vectors have no inverted index."""

    def _index(self, path: Path) -> Any:
        return self._dr.FlexIndex(str(path), verbose=False)


#: What the name of a SPLADE checkpoint begins with where a SAE-SPLADE model could be named too.
SPLADE = "splade="


def make_systems(baselines: Iterable[str], model: SaeSplade) -> list[System]:
    """Makes the systems of a comparison: the baselines, and last the model, called ``saesplade`` or ``splade``.

    Args:
        baselines: ``bm25``; ``dense``, with the backbone and the document length of ``model``; ``splade=FOLDER``, any
            SPLADE checkpoint (folder or hub name), through the same encoder and index as ``model``; it is called
            ``splade``, or ``splade-FOLDER`` if there are several.
        model: The model that is compared.

    Raises:
        ValueError: If a baseline is none of these, or two systems have one name.
    """
    compared = Concepts("saesplade" if model.head == "sae" else "splade", model)
    if isinstance(baselines, str):
        raise ValueError(f"baselines must be a list, such as [{baselines!r}]")
    baselines = list(baselines)
    several = sum(name.startswith(SPLADE) for name in baselines) + (model.head == "mlm") > 1
    systems = [*(_baseline(name, model, several) for name in baselines), compared]
    repeated = [name for name, count in Counter(system.name for system in systems).items() if count > 1]
    if repeated:
        raise ValueError(f"the system {repeated[0]} is given twice, or two folders have that name")
    return systems


def _baseline(name: str, model: SaeSplade, several: bool) -> System:
    """Makes a baseline; of several SPLADE checkpoints each is called by its folder."""
    if name == "bm25":
        return Words()
    if name == "dense":
        if model.head != "sae":
            raise ValueError("the baseline 'dense' uses a SAE-SPLADE model's backbone, and a SPLADE model has none")
        config = SaeSpladeConfig.from_pretrained(model.source)
        return Dense(config.backbone, model.doc_max_length or config.doc_max_length)
    if name.startswith(SPLADE) and name != SPLADE:
        checkpoint = name.removeprefix(SPLADE)
        called = f"splade-{Path(checkpoint).absolute().name}" if several else "splade"
        return Concepts(called, SaeSplade.from_splade(checkpoint))
    raise ValueError(f"{name!r} is no baseline: give bm25, dense or splade=FOLDER")
