"""Which tokens light which latents, over many passages: synonyms, ambiguous tokens, pairs of one and one."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyterrier as pt
from numpy.typing import NDArray
from scipy import stats

from pyterrier_saesplade.checks import require_positive
from pyterrier_saesplade.documents import field
from pyterrier_saesplade.errors import DataError

if TYPE_CHECKING:
    from pyterrier_saesplade.saesplade import SaeSplade

#: What a pair of a token and a latent can be.
KINDS = ("synonymy", "polysemy", "one to one")

#: Both conditional probabilities of a pair are above this one.
_ASSOCIATED = 0.1
#: From here on one comes with the other; up to there it mostly comes without.
_HIGH, _LOW = 0.6, 0.4
#: The false discovery rate of the tests.
_RATE = 0.05
#: Passages whose pairs are counted together.
_WINDOW = 256


@dataclass(frozen=True)
class Cooccurrence:
    """Pairs of a token and a latent that belong together.

    Attributes:
        pairs: One row per pair, the most frequent first: ``token`` (a word piece), ``latent``, ``term``, ``count`` (of
            the token's occurrences those that light the latent), ``latent_given_token`` and ``token_given_latent``
            (probabilities), ``p_value`` (adjusted), and ``kind``: one of :data:`KINDS`, or empty.
        occurrences: How many occurrences of tokens were counted.
        passages: In how many passages.
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
    """Counts which tokens light which latents, as the method's authors do to show what latents mean.

    An occurrence of a token lights the latents that its own TopK keeps. A pair of a token and a latent is kept if both
    P(latent | token) and P(token | latent) are above 0.1, and a one-sided binomial test says that they come together
    more often than by chance (that is, than the share of all occurrences that light the latent; Benjamini–Hochberg over
    all pairs that occur, rate 0.05). It is *synonymy* if P(latent | token) ≥ .6 and P(token | latent) ≤ .4: several
    tokens light the latent. It is *polysemy* the other way round: the token lights several latents. It is *one to one*
    if both are ≥ .6. Special tokens are left out. (The thresholds are those of the authors' scripts, arXiv 2604.21511;
    that tokens are counted by occurrence, and not by passage, is our reading.)

    Args:
        model: The model.
        documents: Dictionaries with ``text``; streamed.
        passages: How many of them are drawn at random; all, if there are not so many.
        seed: Of the draw.
        verbose: Whether to show progress; ``None``: as the model does.

    Raises:
        ValueError: If no document has a text, or ``passages`` is not positive.

    Examples:
        >>> found = cooccurrence(model, dataset.get_corpus_iter())
        >>> found.passages
        12
    """
    require_positive(passages=passages)
    texts = _drawn(documents, passages, seed)
    if not texts:
        raise DataError("there is no document with a text to count tokens in")
    verbose = model.verbose if verbose is None else verbose
    counts = _Counts(model)
    with pt.tqdm(total=len(texts), desc="Counting tokens", unit="passage", disable=not verbose) as bar:
        for start in range(0, len(texts), _WINDOW):
            window = texts[start : start + _WINDOW]
            counts.add(window)
            bar.update(len(window))
    return Cooccurrence(counts.pairs(), counts.occurrences, len(texts))


def _drawn(documents: Iterable[Mapping[str, Any]], count: int, seed: int) -> list[str]:
    """Draws texts from a stream: each is as likely to be kept as any other."""
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
    """How often each token occurs, each latent is lit, and each pair of them occurs; only pairs that occur are held."""

    def __init__(self, model: SaeSplade) -> None:
        self._model = model
        self._tokens: dict[str, int] = {}
        self._of_token = np.zeros(0, np.int64)
        self._of_latent = np.zeros(model.width, np.int64)
        self._keys = np.zeros(0, np.int64)  # token * M + latent, ascending
        self._of_pair = np.zeros(0, np.int64)

    @property
    def occurrences(self) -> int:
        """Of tokens."""
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
        """Tests all pairs and returns those that belong together."""
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
    comes_with_latent, comes_with_token = latent_given_token >= _HIGH, token_given_latent >= _HIGH
    conditions = [
        comes_with_latent & (token_given_latent <= _LOW),
        comes_with_token & (latent_given_token <= _LOW),
        comes_with_latent & comes_with_token,
    ]
    return np.select(conditions, KINDS, "").astype(object)
