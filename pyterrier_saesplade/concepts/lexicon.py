"""What the latents of a model stand for: the words and contexts of a collection that activate them most."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyterrier as pt
from more_itertools import chunked

from pyterrier_saesplade.checks import require_same_model
from pyterrier_saesplade.documents import field
from pyterrier_saesplade.errors import DataError, PathNotFoundError, SettingError
from pyterrier_saesplade.files import atomic_write, require_new
from pyterrier_saesplade.impacts import LatentStatistics, as_texts
from pyterrier_saesplade.vectors import DESCRIPTION

if TYPE_CHECKING:
    from pyterrier_saesplade.encoding import Token
    from pyterrier_saesplade.saesplade import SaeSplade

#: What a lexicon is called in the folder of its model.
_FILE = "concepts.parquet"
#: Documents that are encoded at a time.
_WINDOW = 1024
#: Words and contexts of a latent that a lexicon has.
_WORDS, _CONTEXTS = 16, 5
#: Words that are counted per latent: those that are lighter are forgotten after a window, so that memory is bounded.
_COUNTED_WORDS = 64
#: Characters on each side of the word in a context.
_CONTEXT = 60
#: Words that a printed concept has.
_SHOWN_WORDS = 8

_SCHEMA = pa.schema(
    [
        pa.field("latent", pa.int32()),
        pa.field("term", pa.string()),
        pa.field("df", pa.int64()),
        pa.field(
            "words",
            pa.list_(
                pa.struct([("word", pa.string()), ("documents", pa.int64()), ("weight", pa.float64())]),
            ),
        ),
        pa.field(
            "contexts",
            pa.list_(
                pa.struct(
                    [
                        ("docno", pa.string()),
                        ("weight", pa.float64()),
                        ("before", pa.string()),
                        ("word", pa.string()),
                        ("after", pa.string()),
                    ]
                ),
            ),
        ),
    ]
)


class Context(NamedTuple):
    """A place where a latent is strong.

    Attributes:
        docno: The document.
        weight: The latent's weight in it, which this place gives.
        before: Some of the text before the word.
        word: The word that activates the latent, as it is written there.
        after: Some of the text after it.
    """

    docno: str
    weight: float
    before: str
    word: str
    after: str


class Concept(NamedTuple):
    """A latent, and what it stands for in a collection.

    Attributes:
        latent: Its number.
        term: What it is called in an index.
        df: How many documents have it.
        words: In lower case, those that give it most of its weight first.
        contexts: Where it is strongest.
    """

    latent: int
    term: str
    df: int
    words: tuple[str, ...]
    contexts: tuple[Context, ...]

    def __str__(self) -> str:
        """Its name, document frequency and words in a line, and a line per context.

        Examples:
            >>> print(Concept(7, "c7", 12, ("bank", "loan"), (Context("d1", 2.5, "of the ", "bank", " that lent"),)))
            c7  df 12  bank, loan
                2.50  of the «bank» that lent  (d1)
        """
        contexts = [
            f"    {context.weight:.2f}  {context.before}«{context.word}»{context.after}  ({context.docno})"
            for context in self.contexts
        ]
        return "\n".join([f"{self.term}  df {self.df:,}  {', '.join(self.words[:_SHOWN_WORDS])}", *contexts])


class Lexicon:
    """For each latent that occurs in a collection its document frequency, its words, and contexts.

    A document gives a latent one word: that of the token with its largest activation, since pooling keeps no other.
    :meth:`build` makes a lexicon, :meth:`write` keeps it in a Parquet file of one row per latent (``latent``, ``term``,
    ``df``, ``words``, ``contexts``) that ``pandas.read_parquet`` reads, and :meth:`open` opens that.

    Args:
        table: One row per latent, the latents ascending.
    """

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self._latents = table.column("latent").to_numpy()
        self.description: dict[str, Any] = json.loads(table.schema.metadata[DESCRIPTION])

    @classmethod
    def build(cls, model: SaeSplade, documents: Iterable[Mapping[str, Any]], *, verbose: bool | None = None) -> Lexicon:
        """Reads the lexicon of a model off a collection, which is streamed.

        Memory is that of 64 words per latent, whatever the number of documents: lighter words are forgotten after each
        1,024 documents, so that a word that is spread thin over a large collection may be counted too low.

        Args:
            model: The model.
            documents: ``docno`` and ``text``.
            verbose: Whether to show progress; ``None``: as the model does.

        Raises:
            ValueError: If there are no documents, or one lacks a field.

        Examples:
            >>> lexicon = Lexicon.build(model, dataset.get_corpus_iter())
            >>> concept = lexicon.of_word("bank")[0]
            >>> "bank" in lexicon.words(concept.latent)
            True
        """
        gathered = _Gathered(model)
        verbose = model.verbose if verbose is None else verbose
        with pt.tqdm(desc="Reading concepts", unit="doc", disable=not verbose) as bar:
            for window in chunked(documents, _WINDOW):
                gathered.add(window)
                bar.update(len(window))
        if not gathered.statistics.n_docs:
            raise DataError("there are no documents to read a lexicon off")
        return cls(gathered.table())

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Lexicon:
        """Opens what :meth:`write` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is no lexicon.
        """
        if not Path(path).is_file():
            raise PathNotFoundError(f"there is no lexicon at {path}: make one with saesplade concepts --collection")
        try:
            table = pq.read_table(path)
        except pa.ArrowInvalid as error:
            raise DataError(f"{path} is no lexicon: it is not a Parquet file") from error
        if not table.schema.equals(_SCHEMA) or DESCRIPTION not in (table.schema.metadata or {}):
            raise DataError(f"{path} is no lexicon: its columns are {', '.join(table.schema.names)}")
        return cls(table)

    def write(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Writes a Parquet file.

        Raises:
            FileExistsError: If it exists and ``overwrite`` is false.
        """
        path = Path(path)
        require_new(path, overwrite=overwrite)
        with atomic_write(path) as partial:
            pq.write_table(self._table, partial)

    @staticmethod
    def path(model: SaeSplade) -> Path:
        """Returns where the lexicon of a model is kept unless a place is named: ``concepts.parquet`` in its folder.

        Raises:
            ValueError: If the model is in no folder, but on the hub.
        """
        if not Path(model.source).is_dir():
            raise SettingError(f"{model.source} is no folder that could keep a lexicon: name a file for it (--lexicon)")
        return Path(model.source) / _FILE

    @classmethod
    def of_model(cls, model: SaeSplade) -> Lexicon | None:
        """Returns the lexicon in a model's folder; ``None`` if there is none, or it is of other settings."""
        path = Path(model.source) / _FILE
        found = cls.open(path) if path.is_file() else None
        return found if found is not None and found.description["fingerprint"] == model.fingerprint else None

    def check(self, model: SaeSplade) -> None:
        """Raises a :exc:`ModelMismatchError` if the lexicon was built with another model."""
        require_same_model(
            f"the lexicon, built with {self.description['model']},",
            self.description["fingerprint"],
            repr(model),
            model.fingerprint,
            "build a lexicon with this model",
        )

    @property
    def n_docs(self) -> int:
        """The number of documents that it was read off."""
        return int(self.description["n_docs"])

    def __len__(self) -> int:
        """Returns the number of latents that occur in the collection."""
        return len(self._latents)

    def __iter__(self) -> Iterator[Concept]:
        """Iterates over the concepts, the latents ascending."""
        return map(self._concept, range(len(self)))

    def concept(self, latent: int) -> Concept | None:
        """Returns what a latent stands for; ``None`` if no document has it."""
        row = int(np.searchsorted(self._latents, latent))
        return self._concept(row) if row < len(self) and self._latents[row] == latent else None

    def words(self, latent: int, limit: int | None = None) -> list[str]:
        """Returns the words of a latent, the heaviest first, at most ``limit``; none if no document has it."""
        concept = self.concept(latent)
        return [] if concept is None else list(concept.words[:limit])

    def of_word(self, word: str) -> list[Concept]:
        """Returns the concepts that a word activates in the collection, the one that it gives most weight first."""
        words = self._table.column("words").combine_chunks()
        entries = pc.list_flatten(words)
        found = np.flatnonzero(pc.equal(entries.field("word"), word.lower()).to_numpy(zero_copy_only=False))
        weights = entries.field("weight").to_numpy()[found]
        rows = pc.list_parent_indices(words).to_numpy()[found]
        return [self._concept(row) for row in rows[np.argsort(-weights, kind="stable")].tolist()]

    def activated_by(self, model: SaeSplade, text: str) -> list[tuple[float, Concept]]:
        """Returns the latents that a model lights for a word or a text, and their weights, the largest first.

        Those that no document of the collection has are there too, without words.

        Raises:
            ValueError: If the lexicon is of another model.
        """
        self.check(model)
        latents, weights = model.encode([text], verbose=False).row(0)
        order = np.argsort(-weights, kind="stable")
        return [
            (weight, self.concept(latent) or Concept(latent, model.terms.name(latent), 0, (), ()))
            for latent, weight in zip(latents[order].tolist(), weights[order].tolist(), strict=True)
        ]

    def _concept(self, row: int) -> Concept:
        (record,) = self._table.slice(row, 1).to_pylist()
        words = tuple(entry["word"] for entry in record["words"])
        contexts = tuple(Context(**context) for context in record["contexts"])
        return Concept(record["latent"], record["term"], record["df"], words, contexts)


class _Gathered:
    """What was read off the documents so far.

    Words are one row per latent and word: in how many documents the word gave the latent its weight, and the sum of
    these weights. Contexts are one row per latent and place.
    """

    def __init__(self, model: SaeSplade) -> None:
        self.statistics = LatentStatistics.empty(model.width)
        self._model = model
        self._words = pd.DataFrame()
        self._contexts = pd.DataFrame()

    def add(self, documents: Sequence[Mapping[str, Any]]) -> None:
        docnos = [field(document, "docno") for document in documents]
        texts = [text or "" for text in as_texts(field(document, "text") for document in documents)]
        vectors = self._model.encode(texts, "doc", positions=True, verbose=False)
        assert vectors.positions is not None  # they were asked for
        self.statistics.update(vectors)
        tokens = self._model.tokens(texts)
        starts = np.cumsum([0, *map(len, tokens)])
        text = vectors.rows
        postings = pd.DataFrame(
            {
                "latent": vectors.latents,
                "weight": vectors.weights.astype(np.float64),
                "text": text,
                "position": vectors.positions,
            }
        )
        names = [
            token.word(texts[i]).lower() if token.end else token.piece
            for i, of_text in enumerate(tokens)
            for token in of_text
        ]
        self._add_words(postings.assign(word=np.array(names, object)[starts[text] + vectors.positions]))
        self._add_contexts(postings, docnos, texts, tokens)

    def _add_words(self, postings: pd.DataFrame) -> None:
        counted = postings.assign(documents=1)[["latent", "word", "documents", "weight"]]
        summed = pd.concat([self._words, counted]).groupby(["latent", "word"], as_index=False, sort=True).sum()
        self._words = _first(summed, ["latent", "weight", "word"], _COUNTED_WORDS)

    def _add_contexts(
        self, postings: pd.DataFrame, docnos: list[str], texts: list[str], tokens: list[list[Token]]
    ) -> None:
        """Texts are looked at only where a latent is stronger than at the places that are kept already."""
        candidates = _first(postings.assign(docno=np.array(docnos, object)[postings["text"]]), _STRENGTH, _CONTEXTS)
        best = _first(pd.concat([self._contexts, candidates]), _STRENGTH, _CONTEXTS)
        if "before" not in best:
            best = best.assign(before=None, word=None, after=None)
        new = best["before"].isna().to_numpy()
        places = best.loc[new, ["text", "position"]].astype(int).itertuples(index=False)
        parts = [_context(texts[text], tokens[text][position]) for text, position in places]
        best.loc[new, ["before", "word", "after"]] = np.array(parts, object).reshape(-1, 3)
        # Collections repeat themselves: one of several equal contexts is enough.
        self._contexts = best.drop_duplicates(["latent", "before", "word", "after"])

    def table(self) -> pa.Table:
        """Returns a lexicon's table."""
        model = self._model
        description = {
            "model": repr(model),
            "fingerprint": model.fingerprint,
            "width": model.width,
            "n_docs": self.statistics.n_docs,
        }
        latents = np.flatnonzero(self.statistics.df)
        words = _first(self._words, ["latent", "weight", "word"], _WORDS)
        columns = {
            "latent": latents,
            "term": [model.terms.name(latent) for latent in latents.tolist()],
            "df": self.statistics.df[latents],
            "words": _lists(words, "words"),
            "contexts": _lists(self._contexts, "contexts"),
        }
        return pa.table(columns, schema=_SCHEMA.with_metadata({DESCRIPTION: json.dumps(description)}))


#: Where a latent is strongest; of equal places the first by docno.
_STRENGTH = ["latent", "weight", "docno"]


def _first(frame: pd.DataFrame, keys: list[str], count: int) -> pd.DataFrame:
    """Returns each latent's ``count`` heaviest rows; ``keys`` are latent, weight, and what decides between equals."""
    ordered = frame.sort_values(keys, ascending=[True, False, True], kind="stable", ignore_index=True)
    return ordered[ordered.groupby("latent").cumcount() < count]


def _lists(frame: pd.DataFrame, column: str) -> pa.ListArray:
    """Returns the rows of each latent as a list; every latent has one, and they are in ascending order."""
    kind = _SCHEMA.field(column).type
    fields = [kind.value_type.field(i) for i in range(kind.value_type.num_fields)]
    arrays = [pa.array(frame[of_row.name], of_row.type, from_pandas=False) for of_row in fields]
    counts = frame.groupby("latent").size().to_numpy()
    bounds = pa.array(np.concatenate(([0], np.cumsum(counts))).astype(np.int32))
    return pa.ListArray.from_arrays(bounds, pa.StructArray.from_arrays(arrays, fields=fields))


def _context(text: str, token: Token) -> tuple[str, str, str]:
    """Returns some of the text before a token's word, the word, and some of the text after, cut at blanks."""
    before, after = text[max(0, token.start - _CONTEXT) : token.start], text[token.end : token.end + _CONTEXT]
    if token.start > _CONTEXT:
        before = f"… {before.partition(' ')[2]}"
    if token.end + _CONTEXT < len(text):
        after = f"{after.rpartition(' ')[0]} …"
    before, after = (" ".join(part.split()) for part in (before, after))
    joined_before = " " if token.start and text[token.start - 1].isspace() else ""
    joined_after = " " if text[token.end : token.end + 1].isspace() else ""
    return f"{before}{joined_before}", token.word(text), f"{joined_after}{after}"
