"""Anserini's Lucene indexes, written and searched in the virtual machine of this process.

Impacts are passed to Lucene as term frequencies. Anserini's own indexer repeats each term as often as its impact says
and counts the occurrences. The resulting index is the same, but that indexer takes longer the larger the weights are,
stores documents in an order that depends on its threads, and leaves out empty documents.

Texts are left to Anserini: its indexer stems and counts their words, and its ``SimpleSearcher``, which Pyserini's
``LuceneSearcher`` wraps, searches them with BM25 and RM3. The command ``SearchCollection`` gives the same run, but
skips queries of more than 1,024 words and, from Anserini 2.3 on, accesses the network even for an index on disk.
"""

from __future__ import annotations

import json
import os
from collections import Counter, OrderedDict
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pyterrier_saesplade.engines.lucene.jvm import lift_clause_limit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

#: Separates a term from its frequency. It occurs in no vocabulary, and Java does not treat it as white space, at which
#: the tokenizer splits terms.
DELIMITER = "\x01"

#: The number of indexes that are kept open.
_OPEN = 16

#: Megabytes of postings held in memory while texts are indexed. Anserini's default of 4,096 exceeds Java's memory on
#: most machines.
_BUFFER_MB = 512

_CONTENTS, _ID = "contents", "id"  # Anserini's field names
_LUCENE = "org.apache.lucene"


class Lucene:
    """Writes and searches indexes. :class:`LuceneProcess` does the same in a worker process."""

    def __init__(self) -> None:
        self._searchers: OrderedDict[str, tuple[tuple[int, int], Any]] = OrderedDict()

    def write(self, folder: Path, documents: Iterable[Sequence[tuple[str, str]]]) -> int:
        """Writes an index.

        Args:
            folder: An existing folder. Files in it that are not Lucene's are kept.
            documents: Batches of a few thousand documents. Each document is its docno and a string of
                ``TERM DELIMITER FREQUENCY`` items separated by spaces; the string of an empty document is empty.

        Returns:
            The number of documents in the index. They keep the given order.
        """
        writer = _Writer(folder)
        try:
            for batch in documents:
                for docno, terms in batch:
                    writer.add(docno, terms)
            return writer.finish()
        finally:
            writer.close()

    def search(self, folder: Path, queries: Sequence[Mapping[str, float]], k: int) -> str:
        """Searches an index.

        Args:
            folder: The folder of the index.
            queries: The term weights of each query.
            k: Maximum number of documents per query.

        Returns:
            JSON with Lucene's ``TopDocs`` for each query. The entries of ``scoreDocs`` have a ``doc``, the number of
            the document in the index, and a ``score``. They are in descending order of score; ties are in order of
            number.
        """
        from jnius import autoclass

        searcher = self._searcher(folder)
        generator = autoclass("io.anserini.search.query.BagOfWordsQueryGenerator")()
        # All hits are returned as one string: reading them one by one through JNI takes longer than finding them.
        hits = (self._json.writeValueAsString(searcher.search(_query(generator, query), k)) for query in queries)
        return f"[{','.join(hits)}]"

    def index_texts(self, source: Path, folder: Path) -> int:
        """Indexes texts with Anserini's defaults, with document vectors, in one segment.

        Args:
            source: A folder with JSON lines files, with ``id`` and ``contents``. Anserini leaves out empty texts.
            folder: The folder of the new index.

        Returns:
            The number of documents in the index.
        """
        from jnius import autoclass

        paths = ["-input", str(source.resolve()), "-index", str(folder.resolve())]
        options = "-collection JsonCollection -threads 1 -storeDocvectors -optimize -quiet -memoryBuffer"
        autoclass("io.anserini.index.IndexCollection").main([*paths, *options.split(), str(_BUFFER_MB)])
        with _reader(folder) as reader:
            return int(reader.numDocs())

    def search_texts(
        self, folder: Path, queries: Sequence[str], k: int, *, k1: float, b: float, rm3: bool = False
    ) -> str:
        """Searches an index of texts with BM25.

        Args:
            folder: The folder of the index.
            queries: The query texts.
            k: Maximum number of documents per query.
            k1: BM25's term-frequency saturation.
            b: BM25's length normalisation.
            rm3: Whether to expand queries with RM3, with Anserini's defaults.

        Returns:
            JSON that maps the position of each query in ``queries`` to the documents found, with their ``docid`` and
            ``score``. They are in descending order of score; ties are in order of ``docid``.
        """
        from jnius import autoclass

        texts, places = autoclass("java.util.ArrayList")(), autoclass("java.util.ArrayList")()
        for place, text in enumerate(queries):
            texts.add(text)
            places.add(str(place))
        with _text_searcher(folder, k1, b, rm3) as searcher:
            return str(self._json.writeValueAsString(searcher.batch_search(texts, places, k, 1)))

    def query_words(self, folder: Path, queries: Sequence[str], *, k1: float, b: float, rm3: bool = False) -> str:
        """Returns the words that queries search an index of texts with; see :meth:`search_texts`.

        Returns:
            JSON that maps each word to the number of queries and the number of documents that contain it. Stop words
            are removed from the queries and the others are stemmed. With ``rm3``, expansion words are included.
        """
        from jnius import autoclass

        analyze = autoclass("io.anserini.analysis.AnalyzerUtils").analyze
        term = autoclass(f"{_LUCENE}.index.Term")
        query_df: Counter[str] = Counter()
        with _text_searcher(folder, k1, b, rm3) as searcher, _reader(folder) as reader:
            analyzer = searcher.get_analyzer()
            for query in queries:
                words = searcher.get_feedback_terms(query).keySet() if rm3 else analyze(analyzer, query)
                query_df.update(set(words.toArray()))
            counts = {word: (n, int(reader.docFreq(term(_CONTENTS, word)))) for word, n in query_df.items()}
        return json.dumps(counts)

    @cached_property
    def _json(self) -> Any:
        from jnius import autoclass

        mapper = autoclass("com.fasterxml.jackson.databind.ObjectMapper")()
        stored = autoclass("java.lang.Class").forName(f"{_LUCENE}.document.Document")
        # Hits carry their stored documents, which are not needed.
        mapper.configOverride(stored).setIsIgnoredType(autoclass("java.lang.Boolean")(True))
        return mapper

    def _searcher(self, folder: Path) -> Any:
        name, found = str(folder.resolve()), os.stat(folder)
        stamp = (found.st_ino, found.st_mtime_ns)  # changes when the index is replaced
        known = self._searchers.pop(name, None)
        if known is not None and known[0] != stamp:
            known[1].getIndexReader().close()
            known = None
        self._searchers[name] = known or (stamp, _open_searcher(name))
        while len(self._searchers) > _OPEN:
            _, (_, searcher) = self._searchers.popitem(last=False)
            searcher.getIndexReader().close()
        return self._searchers[name][1]


class _Writer:
    """Adds documents to a new index in a single thread, so that they keep their order."""

    def __init__(self, folder: Path) -> None:
        from jnius import autoclass, cast

        analysis = autoclass(f"{_LUCENE}.analysis.custom.CustomAnalyzer").builder()
        arguments = autoclass("java.util.HashMap")
        delimiter = arguments()
        delimiter.put("delimiter", DELIMITER)
        analysis.withTokenizer("whitespace", arguments())
        analysis.addTokenFilter("delimitedTermFrequency", delimiter)
        config = autoclass(f"{_LUCENE}.index.IndexWriterConfig")(analysis.build())
        config.setOpenMode(autoclass(f"{_LUCENE}.index.IndexWriterConfig$OpenMode").CREATE)
        config.setSimilarity(_similarity())
        # This policy merges only adjacent segments; the default policy changes the order of documents.
        config.setMergePolicy(autoclass(f"{_LUCENE}.index.LogDocMergePolicy")())
        self._writer = autoclass(f"{_LUCENE}.index.IndexWriter")(_directory(str(folder)), config)
        kind = autoclass(f"{_LUCENE}.document.FieldType")()
        kind.setIndexOptions(autoclass(f"{_LUCENE}.index.IndexOptions").DOCS_AND_FREQS)
        kind.setTokenized(True)
        kind.setOmitNorms(True)
        kind.freeze()
        self._kind = cast(f"{_LUCENE}.index.IndexableFieldType", kind)
        self._document = autoclass(f"{_LUCENE}.document.Document")
        self._field = autoclass(f"{_LUCENE}.document.Field")
        self._stored = autoclass(f"{_LUCENE}.document.StringField")
        self._store = autoclass(f"{_LUCENE}.document.Field$Store").YES
        self._sorted = autoclass(f"{_LUCENE}.document.BinaryDocValuesField")
        self._bytes = autoclass(f"{_LUCENE}.util.BytesRef")

    def add(self, docno: str, terms: str) -> None:
        document = self._document()
        document.add(self._stored(_ID, docno, self._store))
        document.add(self._sorted(_ID, self._bytes(docno, signature="(Ljava/lang/CharSequence;)V")))
        signature = (
            f"(Ljava/lang/String;Ljava/lang/CharSequence;L{_LUCENE.replace('.', '/')}/index/IndexableFieldType;)V"
        )
        document.add(self._field(_CONTENTS, terms, self._kind, signature=signature))
        self._writer.addDocument(document)

    def finish(self) -> int:
        self._writer.forceMerge(1)
        self._writer.commit()
        return int(self._writer.getDocStats().numDocs)

    def close(self) -> None:
        self._writer.rollback()  # keeps what was committed


def _open_searcher(folder: str) -> Any:
    from jnius import autoclass

    lift_clause_limit()
    reader = _open_reader(folder)
    signature = f"(L{_LUCENE.replace('.', '/')}/index/IndexReader;)V"
    searcher = autoclass(f"{_LUCENE}.search.IndexSearcher")(reader, signature=signature)
    searcher.setSimilarity(_similarity())
    return searcher


@contextmanager
def _text_searcher(folder: Path, k1: float, b: float, rm3: bool) -> Iterator[Any]:
    from jnius import autoclass

    lift_clause_limit()
    searcher = autoclass("io.anserini.search.SimpleSearcher")(str(folder.resolve()))
    try:
        searcher.set_bm25(k1, b)
        if rm3:
            searcher.set_rm3()
        yield searcher
    finally:
        searcher.close()


@contextmanager
def _reader(folder: Path) -> Iterator[Any]:
    reader = _open_reader(str(folder.resolve()))
    try:
        yield reader
    finally:
        reader.close()


def _open_reader(folder: str) -> Any:
    from jnius import autoclass

    return autoclass(f"{_LUCENE}.index.DirectoryReader").open(_directory(folder))


def _query(generator: Any, weights: Mapping[str, float]) -> Any:
    from jnius import autoclass

    boosts, number = autoclass("java.util.HashMap")(), autoclass("java.lang.Float")
    for term, weight in weights.items():
        boosts.put(term, number(float(weight)))
    return generator.buildQuery(_CONTENTS, boosts)


def _directory(folder: str) -> Any:
    from jnius import autoclass

    return autoclass(f"{_LUCENE}.store.FSDirectory").open(autoclass("java.nio.file.Paths").get(folder))


def _similarity() -> Any:
    from jnius import autoclass

    return autoclass("io.anserini.search.similarity.ImpactSimilarity")()
