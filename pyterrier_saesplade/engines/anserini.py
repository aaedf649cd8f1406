"""Anserini: concept vectors in a Lucene impact index, which Pyserini can also search."""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from pyterrier_saesplade.engines.description import read_docnos
from pyterrier_saesplade.engines.frames import Hits
from pyterrier_saesplade.engines.index import ConceptIndex
from pyterrier_saesplade.engines.lucene import LuceneWriter, get_lucene
from pyterrier_saesplade.impacts import to_toks

if TYPE_CHECKING:
    from pyterrier_saesplade.vectors import ConceptVectors


class AnseriniConceptIndex(LuceneWriter, ConceptIndex):
    """A plain Lucene impact index in the folder itself, next to the description of the model.

    Pyserini's own commands accept the folder as their ``--index``. ``python -m pyserini_bridge.index`` writes the same
    index.

    Lucene runs in PyTerrier's Java if it can load Anserini's classes, which pyterrier-anserini adds. Otherwise Lucene
    runs in a worker process, which is started when it is needed. Lucene's scores have 24 bits: dot products of integers
    are exact below 16,777,216, which is a score of 16,777 at the usual scales, and are rounded to 24 bits above.

    Examples:
        >>> index = model.indexer("concepts.anserini", "anserini").index(documents)
        >>> model.retriever(index, num_results=3).search("young cat")["rank"].tolist()
        [0, 1, 2]
    """

    def search(self, queries: ConceptVectors, num_results: int) -> list[Hits]:
        """Searches with Lucene; see :meth:`ConceptIndex.search`."""
        tops = json.loads(get_lucene().search(self._folder, to_toks(queries, self.terms), num_results))
        return [self._hits(top["scoreDocs"]) for top in tops]

    def _hits(self, found: list[dict[str, float]]) -> Hits:
        docnos = [self._docnos[int(hit["doc"])] for hit in found]
        return Hits(docnos, np.array([hit["score"] for hit in found], np.float64))

    @cached_property
    def _docnos(self) -> list[str]:
        return read_docnos(self._folder)
