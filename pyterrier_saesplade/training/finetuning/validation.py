"""Validation during training: held-out queries search a pool of passages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ir_measures
import numpy as np

from pyterrier_saesplade.metrics import delta_e, qd_flops
from pyterrier_saesplade.vectors import top_documents

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pyterrier_saesplade.encoding import Encoder
    from pyterrier_saesplade.training.data import TrainingData

#: Number of passages retrieved per query.
_DEPTH = 100
_MEASURES = {"RR@10": ir_measures.RR @ 10, "nDCG@10": ir_measures.nDCG @ 10}


class Validation:
    """Queries, a pool of passages, and the relevant passages of each query.

    Args:
        queries: Texts of the queries.
        passages: Texts of the pool.
        relevant: For each query, the indices of its relevant passages in the pool.
    """

    def __init__(self, queries: Sequence[str], passages: Sequence[str], relevant: Sequence[Sequence[int]]) -> None:
        self.queries = queries
        self.passages = passages
        self._qrels = [
            ir_measures.Qrel(str(query), str(passage), 1)
            for query, positives in enumerate(relevant)
            for passage in positives
        ]

    @classmethod
    def of(cls, data: TrainingData, numbers: NDArray[np.int64], pool: int, seed: int) -> Validation:
        """Makes a pool from the passages of held-out examples, filled up with random other passages.

        Args:
            data: The data.
            numbers: Numbers of the held-out examples. Examples of the same query are merged.
            pool: Number of passages in the pool, unless the examples have more.
            seed: Seed for drawing the other passages.
        """
        examples = [data[number] for number in numbers]
        rows = list(dict.fromkeys(row for example in examples for row in example.passages.tolist()))
        seen = set(rows)
        others = np.random.default_rng([seed, len(examples)]).permutation(len(data.passages))[: pool + len(rows)]
        rows += [row for row in others.tolist() if row not in seen][: max(0, pool - len(rows))]
        index_of = {row: index for index, row in enumerate(rows)}
        relevant: dict[int, dict[int, None]] = {}
        for example in examples:
            positives = relevant.setdefault(example.query, {})
            positives.update((index_of[row], None) for row in example.passages[: example.positives].tolist())
        return cls(
            data.queries.texts(list(relevant)), data.passages.texts(rows), [list(found) for found in relevant.values()]
        )

    def measure(self, encoder: Encoder) -> dict[str, float]:
        """Returns RR@10, nDCG@10, QD-FLOPs and ΔE of a model."""
        was_training = encoder.model.training
        encoder.model.train(False)
        queries = encoder.encode(self.queries, side="query")
        passages = encoder.encode(self.passages, side="doc")
        encoder.model.train(was_training)
        width = encoder.config.width
        run = [
            ir_measures.ScoredDoc(str(query), str(document), float(score))
            for query, (found, scores) in enumerate(top_documents(queries, passages, width, _DEPTH))
            for document, score in zip(found, scores, strict=True)
        ]
        values = ir_measures.calc_aggregate(_MEASURES.values(), self._qrels, run)
        measures = {name: float(values[measure]) for name, measure in _MEASURES.items()}
        query_df, doc_df = (np.bincount(vectors.latents, minlength=width) for vectors in (queries, passages))
        flops = qd_flops(query_df, len(queries), doc_df, len(passages))
        return measures | {"qd_flops": flops, "delta_e": delta_e(measures["RR@10"], flops)}
