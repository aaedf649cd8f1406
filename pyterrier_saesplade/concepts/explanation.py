"""Explanations: the score of a document for a query, split into the contributions of the latents they share."""

from __future__ import annotations

import html
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyterrier_saesplade.concepts.lexicon import Lexicon
    from pyterrier_saesplade.encoding import Token
    from pyterrier_saesplade.engines import ConceptIndex
    from pyterrier_saesplade.saesplade import SaeSplade

#: The number of latents shown in a terminal or notebook, and the number of words per latent.
_SHOWN_LATENTS = 10
_SHOWN_WORDS = 4
#: The number of characters of a text shown in a terminal.
_SHOWN_CHARACTERS = 200
#: The background colour of words, transparent so that the text stays readable on light and dark pages.
_SHADE = "rgba(255, 140, 0, {:.2f})"
#: The opacity for the token that contributes most.
_DARKEST = 0.6


class SharedConcept(NamedTuple):
    """A latent that is active in both a query and a document.

    Attributes:
        latent: The number of the latent.
        term: Its pseudo-term in an index.
        contribution: Its contribution to the score, in units of weight.
        query_token: The token of the query that gave the latent its weight, that is, activates it most.
        document_token: The same for the document.
        words: The words that activate the latent, from a lexicon; empty without one.
    """

    latent: int
    term: str
    contribution: float
    query_token: Token
    document_token: Token
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Explanation:
    """Why a document gets its score.

    ``str()`` returns a summary for a terminal. A notebook shows both texts with their words shaded by contribution.

    Attributes:
        query: The query.
        document: The text of the document.
        shared: The latents that are active in both, in descending order of contribution.
        read: The number of characters of the document that were encoded; the rest was truncated.

    Examples:
        >>> cat, kitten = Token("cat", 2, 5), Token("kitten", 4, 10)
        >>> explanation = Explanation("a cat", "The kitten", (SharedConcept(7, "c7", 1.5, cat, kitten, ("pet",)),), 10)
        >>> explanation.frame
           latent term  contribution  share query_token document_token words
        0       7   c7           1.5    1.0         cat         kitten   pet
        >>> print(explanation)
        query     a cat
        document  The kitten
        score     1.500
           1.500 100.0%  c7  cat = kitten  (pet)
    """

    query: str
    document: str
    shared: tuple[SharedConcept, ...]
    read: int

    @property
    def score(self) -> float:
        """The score, that is, the sum of the contributions."""
        return sum((concept.contribution for concept in self.shared), 0.0)

    @property
    def frame(self) -> pd.DataFrame:
        """One row per shared latent.

        The columns are ``latent``, ``term``, ``contribution`` (in units of weight), ``share`` (of the score),
        ``query_token`` and ``document_token`` (the words that activate it most), and ``words`` (from the lexicon).
        """
        columns = ["latent", "term", "contribution", "share", "query_token", "document_token", "words"]
        rows = [
            (
                concept.latent,
                concept.term,
                concept.contribution,
                concept.contribution / self.score,
                concept.query_token.word(self.query),
                concept.document_token.word(self.document),
                ", ".join(concept.words),
            )
            for concept in self.shared
        ]
        return pd.DataFrame(rows, columns=columns)

    def __str__(self) -> str:
        """Returns the texts, the score, and the latents that contribute most to it."""
        lines = [
            f"query     {_shortened(self.query)}",
            f"document  {_shortened(self.document)}",
            f"score     {self.score:.3f}",
        ]
        shown, rest = self.shared[:_SHOWN_LATENTS], self.shared[_SHOWN_LATENTS:]
        width = max((len(concept.term) for concept in shown), default=0)
        for concept in shown:
            words = f"  ({', '.join(concept.words)})" if concept.words else ""
            lines.append(
                f"  {concept.contribution:6.3f} {concept.contribution / self.score:6.1%}  {concept.term:<{width}}  "
                f"{concept.query_token.word(self.query)} = {concept.document_token.word(self.document)}{words}"
            )
        if rest:
            lines.append(f"  {sum(concept.contribution for concept in rest):6.3f}  from {len(rest)} more")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Returns HTML: both texts, with their words shaded by contribution, and the table of latents."""
        query = _shaded(self.query, ((concept.query_token, concept) for concept in self.shared), len(self.query))
        document = _shaded(self.document, ((concept.document_token, concept) for concept in self.shared), self.read)
        rounded = self.frame.head(_SHOWN_LATENTS).round({"contribution": 3, "share": 3})
        table: str = rounded.to_html(index=False, border=0)  # escapes its content
        more = len(self.shared) - _SHOWN_LATENTS
        return (
            f'<div style="line-height: 1.6"><p><b>score</b> {self.score:.3f}, {len(self.shared)} shared latents</p>'
            f"<p><b>query</b> {query}</p><p><b>document</b> {document}</p>"
            f"{table}{f'<p>and {more} more</p>' if more > 0 else ''}</div>"
        )


def explain(
    model: SaeSplade,
    query: str,
    document: str,
    index: ConceptIndex | None = None,
    lexicon: Lexicon | None = None,
) -> Explanation:
    """Explains a score; see :meth:`pyterrier_saesplade.SaeSplade.explain`."""
    queries = model.encode([query], "query", positions=True, verbose=False)
    documents = model.encode([document], "doc", positions=True, verbose=False)
    if index is not None:
        queries, documents = index.prepare_queries(queries), index.prepare_documents(documents)
    unit = 1.0 if index is None else index.score_scale
    (query_tokens,), (document_tokens,) = model.tokens([query], "query"), model.tokens([document], "doc")
    latents, in_query, in_document = np.intersect1d(
        queries.latents, documents.latents, assume_unique=True, return_indices=True
    )
    products = queries.weights[in_query].astype(np.float64) * documents.weights[in_document] / unit
    assert queries.positions is not None
    assert documents.positions is not None
    shared = [
        SharedConcept(
            latent,
            model.terms.name(latent),
            contribution,
            query_tokens[in_the_query],
            document_tokens[in_the_document],
            () if lexicon is None else tuple(lexicon.words(latent, _SHOWN_WORDS)),
        )
        for latent, contribution, in_the_query, in_the_document in zip(
            latents.tolist(),
            products.tolist(),
            queries.positions[in_query].tolist(),
            documents.positions[in_document].tolist(),
            strict=True,
        )
    ]
    read = max((token.end for token in document_tokens), default=0)
    return Explanation(query, document, tuple(sorted(shared, key=lambda concept: -concept.contribution)), read)


def _shaded(text: str, activations: Iterable[tuple[Token, SharedConcept]], read: int) -> str:
    """Returns a text as HTML: words shaded by contribution, tooltips with their latents, and truncated text paler."""
    by_token: dict[Token, list[SharedConcept]] = defaultdict(list)
    for token, concept in activations:
        # All pieces of a word count as one token.
        by_token[token._replace(piece="") if token.end else token].append(concept)
    sums = {token: sum(concept.contribution for concept in concepts) for token, concepts in by_token.items()}
    largest = max(sums.values(), default=1.0)
    parts, at = [], 0
    for token in sorted(by_token, key=lambda token: (token.start, token.end)):
        names = "; ".join(
            f"{concept.term} {concept.contribution:.3f}" + (f" ({', '.join(concept.words)})" if concept.words else "")
            for concept in by_token[token]
        )
        parts.append(html.escape(text[at : token.start]))
        parts.append(
            f'<span style="background: {_SHADE.format(_DARKEST * sums[token] / largest)}; border-radius: 3px" '
            f'title="{html.escape(names)}">{html.escape(token.word(text))}</span>'
        )
        if not token.end:
            parts.append(" ")
        at = max(at, token.end)
    parts.append(html.escape(text[at : max(at, read)]))
    unread = html.escape(text[max(at, read) :])
    return "".join(parts) + (f'<span style="opacity: 0.5">{unread}</span>' if unread else "")


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN_CHARACTERS else f"{line[: _SHOWN_CHARACTERS - 1]}…"
