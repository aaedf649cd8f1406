"""Lucene indexes as Anserini has them, written and searched in this process's virtual machine.

Lucene is told each term's frequency, which is its impact. Anserini's own indexer counts the occurrences of a term that
was written as many times; the index is the same, but it takes longer the larger the weights are, stores documents in an
order that depends on threads, and leaves out empty ones.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from pyserini_bridge import jvm

#: Between a term and its frequency; in no vocabulary, and no blank to Java, which ends terms.
DELIMITER = "\x01"

#: Indexes that are kept open.
_OPEN = 16

_CONTENTS, _ID = "contents", "id"  # as Anserini calls its fields
_LUCENE = "org.apache.lucene"


class Lucene:
    """Writes and searches indexes. :class:`~pyserini_bridge.process.LuceneProcess` does the same at a distance."""

    def __init__(self) -> None:
        self._searchers: OrderedDict[str, tuple[tuple[int, int], Any]] = OrderedDict()

    def write(self, folder: Path, documents: Iterable[Sequence[tuple[str, str]]]) -> int:
        """Writes an index.

        Args:
            folder: The folder, which exists. Files in it that are not Lucene's stay.
            documents: Some thousand documents at a time: the docno, and the terms with their frequencies,
                ``TERM DELIMITER FREQUENCY``, separated by blanks; none for an empty document.

        Returns:
            The number of documents in the index, which stand in the order given.
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
            folder: The folder.
            queries: For each the weights of its terms.
            k: Documents per query at most.

        Returns:
            JSON: for each query Lucene's ``TopDocs``, whose ``scoreDocs`` have a ``doc``, the number of the document in
            the index, and its ``score``; best first, equal ones by number.
        """
        from jnius import autoclass

        searcher = self._searcher(folder)
        generator = autoclass("io.anserini.search.query.BagOfWordsQueryGenerator")()
        # One string for all hits: to read them one by one through JNI takes longer than to find them.
        hits = (self._json.writeValueAsString(searcher.search(_query(generator, query), k)) for query in queries)
        return f"[{','.join(hits)}]"

    @cached_property
    def _json(self) -> Any:
        from jnius import autoclass

        return autoclass("com.fasterxml.jackson.databind.ObjectMapper")()

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
    """Adds documents to a new index, one thread, so that they keep their order."""

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
        # Merges neighbours alone; the default policy changes the order of documents.
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
        self._writer.rollback()  # what was committed stays


def _open_searcher(folder: str) -> Any:
    from jnius import autoclass

    jvm.lift_clause_limit()
    reader = autoclass(f"{_LUCENE}.index.DirectoryReader").open(_directory(folder))
    signature = f"(L{_LUCENE.replace('.', '/')}/index/IndexReader;)V"
    searcher = autoclass(f"{_LUCENE}.search.IndexSearcher")(reader, signature=signature)
    searcher.setSimilarity(_similarity())
    return searcher


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
