"""The systems that a comparison puts side by side: how each indexes, searches, and what its scoring costs."""

from __future__ import annotations

import json
import logging
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import pyterrier as pt

from pyterrier_saesplade.collections import Collection, check_identifier
from pyterrier_saesplade.engines.build import ENGINES, open_index
from pyterrier_saesplade.engines.index import ConceptIndex
from pyterrier_saesplade.engines.spool import java_length
from pyterrier_saesplade.evaluation.efficiency import query_costs
from pyterrier_saesplade.evaluation.languages import language_of
from pyterrier_saesplade.evaluation.stages import NUM_RESULTS, AsAsked, search
from pyterrier_saesplade.files import size_on_disk, written_beside
from pyterrier_saesplade.metrics import qd_flops
from pyterrier_saesplade.model.backbone import check_encoder
from pyterrier_saesplade.model.digest import weights_digest
from pyterrier_saesplade.saesplade import SaeSplade
from pyterrier_saesplade.stages import Stages
from pyterrier_saesplade.store.encode import encode_corpus
from pyterrier_saesplade.store.reader import StoredVectors

if TYPE_CHECKING:
    from pyterrier_dr import SBertBiEncoder

_log = logging.getLogger(__name__)

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


class Part(ABC):
    """What is made of a corpus and kept: an index, or what several indexes are made from.

    Attributes:
        name: What its folder is called.
        parts: What it is made from.
        resumes: Whether a build that was killed goes on in the folder that it left.
    """

    name: str
    parts: Sequence[Part] = ()
    resumes: ClassVar[bool] = False

    @property
    @abstractmethod
    def identity(self) -> str:
        """Everything but the documents that it depends on: with equal ones, it is used again."""

    @abstractmethod
    def build(self, indexes: Indexes, path: Path) -> None:
        """Makes it of ``indexes.corpus`` at ``path``, which does not exist unless an unfinished build left it."""


class Built(NamedTuple):
    """A part on disk."""

    path: Path
    seconds: float  # not a number, if an earlier process had begun it


class Indexes:
    """The parts of the systems that are compared on one corpus, each made once and kept.

    Args:
        corpus: The documents.
        folder: Where parts are kept, those of other corpora too.
    """

    def __init__(self, corpus: Corpus, folder: Path) -> None:
        self.corpus = corpus
        self._folder = folder

    def path(self, part: Part) -> Path:
        """Returns where a part is; it is made if it is missing."""
        return self.built(part).path

    def seconds(self, part: Part) -> float:
        """Returns how long it took to make a part, and what it is made from."""
        return self.built(part).seconds + sum(self.seconds(other) for other in part.parts)

    def built(self, part: Part) -> Built:
        """Makes a part, or finds the one that is there."""
        key = {"system": part.identity, "documents": self.corpus.digest}
        digest = sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]
        home = self._folder / f"{part.name}-{digest}"
        if not (home / "build.json").exists():
            for other in part.parts:
                self.built(other)
            _log.info("%s: indexing %s documents", part.name, f"{self.corpus.n_docs:,}")
            if part.resumes:
                home.mkdir(parents=True, exist_ok=True)
                self._build(part, home, key)
            else:
                with written_beside(home) as staging:
                    staging.mkdir()
                    self._build(part, staging, key)
        record = json.loads((home / "build.json").read_text(encoding="utf-8"))
        seconds = record["build_seconds"]
        return Built(home / "index", float("nan") if seconds is None else seconds)

    def _build(self, part: Part, folder: Path, key: dict[str, str]) -> None:
        start, continued = time.perf_counter(), (folder / "index").exists()
        part.build(self, folder / "index")
        record = key | {"build_seconds": None if continued else time.perf_counter() - start}
        (folder / "build.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


class System(ABC):
    """A line of the table.

    Attributes:
        name: What the line is called.
        note: What it is, settings included, for the foot of the table.
        searched: The parts that it searches.
        encodes_apart: Whether encoding is a stage of its own, so that its time can be told from that of retrieval.
    """

    name: str
    note: str
    searched: Sequence[Part]
    encodes_apart: ClassVar[bool] = True

    @property
    def settings(self) -> list[str]:
        """What its results depend on beside its name, the documents and the queries; not where models are, or run."""
        return [part.identity for part in self.searched]

    @abstractmethod
    def stages(self, indexes: Indexes, *, exclude_own: bool = False) -> tuple[pt.Transformer, pt.Transformer]:
        """Returns what encodes queries, and what retrieves for them.

        Args:
            indexes: Of the documents.
            exclude_own: Whether no search finds the document that has a query's qid for docno, so that neither
                feedback nor fusion has to do with it.
        """

    @abstractmethod
    def qd_flops(self, indexes: Indexes, queries: Sequence[str]) -> float | None:
        """Returns the QD-FLOPs of these queries, ``None`` for a system that has no inverted index.

        Feedback may have learnt from a query's own document.
        """

    def index_mb(self, indexes: Indexes) -> float:
        """Returns what it searches, in 10^6 bytes on disk."""
        return sum(size_on_disk(indexes.path(part)) for part in self.searched) / 1e6

    def build_seconds(self, indexes: Indexes) -> float:
        """Returns how long it took to encode and index all documents, whoever did it."""
        return sum(indexes.seconds(part) for part in self.searched)


class Index(System, Part):
    """A system with one index of its own."""

    @property
    def searched(self) -> Sequence[Part]:  # type: ignore[override]
        """Itself."""
        return (self,)


class Vectors(Part):
    """The concept vectors of a corpus, so that several indexes cost one encoding.

    Args:
        model: The model.
    """

    name = "vectors"
    resumes = True

    def __init__(self, model: SaeSplade) -> None:
        self.model = model

    @property
    def identity(self) -> str:
        """The model's fingerprint (weights, document-side settings)."""
        return f"vectors {self.model.fingerprint}"

    def build(self, indexes: Indexes, path: Path) -> None:
        """Encodes the corpus into a store."""
        encode_corpus(self.model, indexes.corpus.collection, path)


class Concepts(Index):
    """Concept vectors (or SPLADE's, which are the same with another head) in an index of this package.

    Args:
        name: What the line is called.
        model: The model.
        engine: The engine's name.
    """

    def __init__(self, name: str, model: SaeSplade, engine: str = "terrier") -> None:
        if engine not in ENGINES:
            raise ValueError(f"there is no engine {engine!r}; engines are: {', '.join(map(repr, ENGINES))}")
        self.name = name
        self.model = model
        self.engine = engine
        self.vectors = Vectors(model)
        self.parts = (self.vectors,)
        self.note = f"{name}: {model!r}, weighting {model.weighting}, in {engine.capitalize()}"

    @property
    def identity(self) -> str:
        """The model's fingerprint, and the defaults that an index is built with."""
        quantization = ENGINES[self.engine].default_quantization
        return f"{self.engine} {self.model.fingerprint}, {quantization}, weighting {self.model.weighting}"

    @property
    def settings(self) -> list[str]:
        """The length of queries too, which is not part of a fingerprint."""
        return [*super().settings, query_length_of(self.model)]

    def build(self, indexes: Indexes, path: Path) -> None:
        """Indexes the vectors."""
        self.model.indexer(path, self.engine).index(StoredVectors(indexes.path(self.vectors)))

    def stages(self, indexes: Indexes, *, exclude_own: bool = False) -> tuple[pt.Transformer, pt.Transformer]:
        """The query encoder, and the engine over pseudo-terms (latent weighting and quantisation are its part)."""
        return self.model.query_encoder(), search(open_index(indexes.path(self)).retriever, exclude_own=exclude_own)

    def qd_flops(self, indexes: Indexes, queries: Sequence[str]) -> float:
        """Counts latents of the queries as encoded, and of the documents as indexed."""
        return flops_of(self.model, open_index(indexes.path(self)), queries)


def query_length_of(model: SaeSplade) -> str:
    """Returns where a model cuts queries, as settings say it; ``None`` is its own length."""
    return f"queries cut at {model.query_max_length}"


def flops_of(model: Stages, index: ConceptIndex, queries: Sequence[str]) -> float:
    """Returns the QD-FLOPs of queries, as a model encodes them, on an index of its vectors."""
    return float(query_costs(model, index, pt.new.queries(list(queries)))["qd_flops"].mean())


class Bm25(Index):
    """Terrier's BM25 over stemmed words, with k1 = 0.9 and b = 0.4, the usual baseline of learned sparse retrieval.

    Stop words are left out in English alone: Terrier has no others.

    Args:
        language: That of documents and queries, two letters.

    Raises:
        ValueError: If words of that language are not told apart here.
    """

    name = "bm25"

    def __init__(self, language: str = "en") -> None:
        self._stemmer = language_of(language).terrier
        self._english = language == "en"
        self._tokeniser = "english" if self._english else "utf"
        words = "Porter stemmer, Terrier's stop words" if self._english else f"stemmer {self._stemmer}, no stop words"
        self.note = f"bm25: Terrier's, k1 {BM25_K1}, b {BM25_B}, {words}, title and text together"

    @property
    def identity(self) -> str:
        """How words are told apart, stemmed and left out."""
        return f"terrier words, {self._tokeniser}, {self._stemmer}"

    def build(self, indexes: Indexes, path: Path) -> None:
        """Indexes the words of the corpus."""
        indexer = pt.terrier.TerrierIndex(str(path)).indexer(
            meta={"docno": indexes.corpus.docno_length},
            tokeniser=self._tokeniser,
            stemmer=self._stemmer,
            stopwords="terrier" if self._english else None,
        )
        indexer.index(indexes.corpus.documents())

    def stages(self, indexes: Indexes, *, exclude_own: bool = False) -> tuple[pt.Transformer, pt.Transformer]:
        """Nothing to encode; punctuation, syntax in Terrier's query language, is taken out before retrieval."""
        retrieve = search(partial(self.bm25, indexes), exclude_own=exclude_own)
        return pt.Transformer.identity(), self.tokenise() >> retrieve

    def tokenise(self) -> pt.Transformer:
        """Returns what makes words of queries, as of documents."""
        stage: pt.Transformer = pt.rewrite.tokenise(self._tokeniser)
        return stage

    def bm25(self, indexes: Indexes, num_results: int = NUM_RESULTS) -> pt.Transformer:
        """Returns Terrier's retriever; given results, it scores these."""
        return self.terrier(indexes).bm25(k1=BM25_K1, b=BM25_B, num_results=num_results)

    def terrier(self, indexes: Indexes) -> pt.terrier.TerrierIndex:
        """Returns the plain index."""
        return pt.terrier.TerrierIndex(str(indexes.path(self)))

    def qd_flops(self, indexes: Indexes, queries: Sequence[str]) -> float:
        """Counts words after stopping and stemming, which the documents of the index hold."""
        index = self.terrier(indexes).index_obj()
        stop_words = pt.java.autoclass("org.terrier.terms.Stopwords")(None) if self._english else None
        stem = pt.java.autoclass(f"org.terrier.terms.{self._stemmer}")(None).stem if self._stemmer else str
        query_df: Counter[str] = Counter()
        for query in self.tokenise().transform(pt.new.queries(list(queries)))["query"]:
            query_df.update({stem(word) for word in query.split() if not (stop_words and stop_words.isStopword(word))})
        return flops_of_words(index, query_df, len(queries))


class Rm3(System):
    """BM25 twice: the second query has words of the documents that the first found, by Terrier's RM3.

    Args:
        language: As for :class:`Bm25`.
    """

    name = "rm3"
    note = "rm3: bm25, whose queries take up 10 words of the first 3 documents, by Terrier's RM3"

    def __init__(self, language: str = "en") -> None:
        self.words = Bm25(language)
        self.searched = (self.words,)

    def stages(self, indexes: Indexes, *, exclude_own: bool = False) -> tuple[pt.Transformer, pt.Transformer]:
        """Nothing to encode; the queries as they were asked are put back at the end."""
        _, first = self.words.stages(indexes, exclude_own=exclude_own)
        again = search(partial(self.words.bm25, indexes), exclude_own=exclude_own)
        return pt.Transformer.identity(), first >> self._rm3(indexes) >> again >> AsAsked()

    def qd_flops(self, indexes: Indexes, queries: Sequence[str]) -> float:
        """Adds what both searches cost."""
        _, first = self.words.stages(indexes)
        rewriting = first >> self._rm3(indexes)
        rewritten = rewriting.transform(pt.new.queries(list(queries)))["query"]
        query_df: Counter[str] = Counter()
        for query in rewritten:  # "applypipeline:off WORD^WEIGHT …", the words stemmed
            query_df.update(word.rpartition("^")[0] for word in query.split()[1:])
        index = self.words.terrier(indexes).index_obj()
        return self.words.qd_flops(indexes, queries) + flops_of_words(index, query_df, len(queries))

    def _rm3(self, indexes: Indexes) -> pt.Transformer:
        rm3: pt.Transformer = self.words.terrier(indexes).rm3(fb_terms=10, fb_docs=3)
        return rm3


def flops_of_words(index: Any, query_df: Counter[str], n_queries: int) -> float:
    """Returns the QD-FLOPs of queries on one of Terrier's indexes, of how many queries hold each of its terms."""
    lexicon = index.getLexicon()
    entries = ((count, lexicon.getLexiconEntry(word)) for word, count in query_df.items())
    known = [(count, entry.getDocumentFrequency()) for count, entry in entries if entry is not None]
    n_docs = index.getCollectionStatistics().getNumberOfDocuments()
    return qd_flops([count for count, _ in known], n_queries, [df for _, df in known], n_docs)


class Dense(Index):
    """A bi-encoder of ``pyterrier_dr``, one vector for each text, searched exhaustively.

    Args:
        backbone: A sentence-transformers model, hub name or folder.
        max_length: Texts are cut at this many word pieces.
        name: What the line is called.

    Raises:
        FileNotFoundError: If there is no such model.
        ImportError: If ``pyterrier_dr`` is not installed.
    """

    def __init__(self, backbone: str, max_length: int, name: str = "dense") -> None:
        try:
            import pyterrier_dr
        except ImportError as error:
            message = "the baseline 'dense' needs pyterrier_dr: pip install 'pyterrier_saesplade[dense]'"
            raise ImportError(message) from error
        check_encoder(backbone)
        self._dr = pyterrier_dr
        self.name = name
        self.backbone = backbone
        self.max_length = max_length
        self.note = f"{name}: pyterrier_dr, {backbone}, texts cut at {max_length} word pieces, exhaustive search"

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

    def build(self, indexes: Indexes, path: Path) -> None:
        """Encodes the corpus into a FLEX index."""
        (self.encoder.doc_encoder(batch_size=256) >> self._index(path)).index(indexes.corpus.documents())

    def stages(self, indexes: Indexes, *, exclude_own: bool = False) -> tuple[pt.Transformer, pt.Transformer]:
        """The query encoder, and the inner products with all documents."""
        index = self._index(indexes.path(self))

        def retriever(num_results: int) -> pt.Transformer:
            stage: pt.Transformer = index.np_retriever(num_results=num_results, drop_query_vec=True)
            return stage

        return self.encoder.query_encoder(), search(retriever, exclude_own=exclude_own)

    def scorer(self, indexes: Indexes) -> pt.Transformer:
        """What scores results again, by the vectors in the index."""
        pipeline: pt.Transformer = self.encoder.query_encoder() >> self._index(indexes.path(self)).np_scorer()
        return pipeline

    def qd_flops(self, indexes: Indexes, queries: Sequence[str]) -> None:
        """Dense vectors have no inverted index."""

    def _index(self, path: Path) -> Any:
        return self._dr.FlexIndex(str(path), verbose=False)
