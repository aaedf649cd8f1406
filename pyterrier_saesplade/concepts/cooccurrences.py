"""Which tokens activate which latents, over many passages: synonymy, polysemy and one-to-one pairs."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyterrier as pt
from scipy import stats

from pyterrier_saesplade.checks import require_positive
from pyterrier_saesplade.documents import field
from pyterrier_saesplade.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from pyterrier_saesplade.saesplade import SaeSplade

#: The kinds of pairs of a token and a latent.
KINDS = ("synonymy", "polysemy", "one to one")

#: Both conditional probabilities of a pair must exceed this value.
_ASSOCIATED = 0.1
#: From ``_HIGH`` up, one mostly occurs with the other; down from ``_LOW``, mostly without.
_HIGH, _LOW = 0.6, 0.4
#: The false discovery rate of the tests.
_RATE = 0.05
#: The number of passages whose pairs are counted at a time.
_WINDOW = 256


@dataclass(frozen=True)
class Cooccurrence:
    """Pairs of a token and a latent that are associated.

    Attributes:
        pairs: One row per pair, the most frequent first. The columns are ``token`` (a word piece), ``latent``,
            ``term``, ``count`` (the number of the token's occurrences that activate the latent), ``latent_given_token``
            and ``token_given_latent`` (probabilities), ``p_value`` (adjusted), and ``kind`` (one of :data:`KINDS`, or
            empty).
        occurrences: The number of token occurrences counted.
        passages: The number of passages counted.
    """

    pairs: pd.DataFrame
    occurrences: int
    passages: int

    @property
    def counts(self) -> dict[str, int]:
        """The number of pairs of each kind."""
        return {kind: int((self.pairs["kind"] == kind).sum()) for kind in KINDS}


def cooccurrence(
    model: SaeSplade,
    documents: Iterable[Mapping[str, Any]],
    passages: int = 10_000,
    *,
    seed: int = 42,
    verbose: bool | None = None,
) -> Cooccurrence:
    """Counts which tokens activate which latents, as the authors of the method do to show what latents mean.

    An occurrence of a token activates the latents that its own TopK keeps. A pair of a token and a latent is kept if
    P(latent | token) and P(token | latent) are both above 0.1, and a one-sided binomial test shows that the two occur
    together more often than by chance. (The chance is the share of all occurrences that activate the latent. P-values
    are adjusted by Benjamini–Hochberg over all pairs that occur, at a rate of 0.05.)

    The kind of a pair is *synonymy* if P(latent | token) ≥ 0.6 and P(token | latent) ≤ 0.4, because several tokens
    activate the latent. It is *polysemy* in the opposite case, because the token activates several latents. It is *one
    to one* if both are ≥ 0.6. Special tokens are left out.

    The thresholds are those of the authors' scripts (arXiv 2604.21511). Counting tokens by occurrence, not by passage,
    is our interpretation.

    Args:
        model: The model.
        documents: Dictionaries with ``text``, which are streamed.
        passages: The number of passages to sample at random; if there are fewer, all are used.
        seed: The random seed of the sample.
        verbose: Whether to show a progress bar; ``None`` for the setting of the model.

    Raises:
        DataError: If no document has a text.
        SettingError: If ``passages`` is not positive.

    Examples:
        >>> found = cooccurrence(model, dataset.get_corpus_iter())
        >>> found.passages
        12
    """
    require_positive(passages=passages)
    texts = _sample(documents, passages, seed)
    if not texts:
        raise DataError("there are no tokens to count: no document has a text")
    verbose = model.verbose if verbose is None else verbose
    counts = _Counts(model)
    with pt.tqdm(total=len(texts), desc="Counting tokens", unit="passage", disable=not verbose) as bar:
        for start in range(0, len(texts), _WINDOW):
            window = texts[start : start + _WINDOW]
            counts.add(window)
            bar.update(len(window))
    return Cooccurrence(counts.pairs(), counts.occurrences, len(texts))


def _sample(documents: Iterable[Mapping[str, Any]], count: int, seed: int) -> list[str]:
    """Samples texts from a stream, each with the same probability (reservoir sampling)."""
    generator = random.Random(seed)
    drawn: list[str] = []
    texts = (text for document in documents if (text := field(document, "text")) and text.strip())
    for number, text in enumerate(texts):
        if number < count:
            drawn.append(text)
        elif (place := generator.randrange(number + 1)) < count:
            drawn[place] = text
    return drawn


class _Counts:
    """The number of occurrences of each token, each latent, and each pair of them; only pairs that occur are stored."""

    def __init__(self, model: SaeSplade) -> None:
        self._model = model
        self._tokens: dict[str, int] = {}
        self._of_token = np.zeros(0, np.int64)
        self._of_latent = np.zeros(model.width, np.int64)
        self._keys = np.zeros(0, np.int64)  # token * M + latent, ascending
        self._of_pair = np.zeros(0, np.int64)

    @property
    def occurrences(self) -> int:
        """The number of token occurrences."""
        return int(self._of_token.sum())

    def add(self, texts: Sequence[str]) -> None:
        tokens, keys = [], [self._keys]
        for of_text, encoded in zip(self._model.tokens(texts), self._model.encode_tokens(texts), strict=True):
            rows = np.array([i for i, token in enumerate(of_text) if token.end], np.int64)
            numbers = [self._tokens.setdefault(of_text[i].piece, len(self._tokens)) for i in rows]
            vectors = encoded.vectors.take(rows)
            of_entry = np.repeat(np.array(numbers, np.int64), np.diff(vectors.indptr))
            tokens += numbers
            keys.append(of_entry * self._model.width + vectors.latents)
            self._of_latent += np.bincount(vectors.latents, minlength=self._model.width)
        so_far = np.zeros(len(self._tokens), np.int64)
        so_far[: len(self._of_token)] = self._of_token
        self._of_token = so_far + np.bincount(np.array(tokens, np.int64), minlength=len(so_far))
        counts = [self._of_pair, np.ones(sum(map(len, keys[1:])), np.int64)]
        self._keys, pair = np.unique(np.concatenate(keys), return_inverse=True)
        self._of_pair = np.bincount(pair, np.concatenate(counts), len(self._keys)).astype(np.int64)

    def pairs(self) -> pd.DataFrame:
        """Tests all pairs, and returns those that are associated."""
        tokens, latents = np.divmod(self._keys, self._model.width)
        together, of_token, of_latent = self._of_pair, self._of_token[tokens], self._of_latent[latents]
        chance = np.asarray(stats.binom.sf(together - 1, of_token, of_latent / self.occurrences))
        adjusted = np.asarray(stats.false_discovery_control(chance))
        latent_given_token, token_given_latent = together / of_token, together / of_latent
        associated = np.minimum(latent_given_token, token_given_latent) > _ASSOCIATED
        kept = np.flatnonzero(associated & (adjusted <= _RATE))
        kept = kept[np.argsort(-together[kept], kind="stable")]
        names = list(self._tokens)
        return pd.DataFrame(
            {
                "token": [names[token] for token in tokens[kept]],
                "latent": latents[kept],
                "term": [self._model.terms.name(latent) for latent in latents[kept]],
                "count": together[kept],
                "latent_given_token": latent_given_token[kept],
                "token_given_latent": token_given_latent[kept],
                "p_value": adjusted[kept],
                "kind": _kinds(latent_given_token[kept], token_given_latent[kept]),
            }
        )


def _kinds(latent_given_token: NDArray[np.float64], token_given_latent: NDArray[np.float64]) -> NDArray[np.object_]:
    """Names the kind of each pair.

    Examples:
        >>> _kinds(np.array([0.9, 0.3, 0.7, 0.5]), np.array([0.2, 0.8, 0.6, 0.5])).tolist()
        ['synonymy', 'polysemy', 'one to one', '']
    """
    token_implies_latent, latent_implies_token = latent_given_token >= _HIGH, token_given_latent >= _HIGH
    conditions = [
        token_implies_latent & (token_given_latent <= _LOW),
        latent_implies_token & (latent_given_token <= _LOW),
        token_implies_latent & latent_implies_token,
    ]
    return np.select(conditions, KINDS, "").astype(object)
