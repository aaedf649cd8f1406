"""The lexicon of a model: for each latent, the words and contexts in a collection that activate it most."""

from __future__ import annotations

import json
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
    import os
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pyterrier_saesplade.encoding import Token
    from pyterrier_saesplade.saesplade import SaeSplade

#: The name of a lexicon in the folder of its model.
_FILE = "concepts.parquet"
#: The number of documents encoded at a time.
_WINDOW = 1024
#: The numbers of words and contexts per latent.
_WORDS, _CONTEXTS = 16, 5
#: The number of words counted per latent. Words with lower weights are dropped after each window, to bound memory.
_COUNTED_WORDS = 64
#: The number of characters on each side of the word in a context.
_CONTEXT = 60
#: The number of words printed per concept.
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
    """A position in a document where a latent is strongly activated.

    Attributes:
        docno: The docno of the document.
        weight: The weight of the latent in the document, which this position gives it.
        before: Some of the text before the word.
        word: The word that activates the latent, as it is written in the document.
        after: Some of the text after the word.
    """

    docno: str
    weight: float
    before: str
    word: str
    after: str


class Concept(NamedTuple):
    """A latent, and the words and contexts of a collection that activate it.

    Attributes:
        latent: The number of the latent.
        term: Its pseudo-term in an index.
        df: The number of documents in which it is active.
        words: Words in lower case, in descending order of the total weight that they give the latent.
        contexts: The positions that activate it most.
    """

    latent: int
    term: str
    df: int
    words: tuple[str, ...]
    contexts: tuple[Context, ...]

    def __str__(self) -> str:
        """Returns one line with the name, document frequency and words, and one line per context.

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
    """The document frequency, words and contexts of each latent that is active in a collection.

    A document contributes one word per latent: the word of the token with the largest activation, which is the only one
    that pooling keeps.

    :meth:`build` creates a lexicon. :meth:`write` stores it in a Parquet file with one row per latent (``latent``,
    ``term``, ``df``, ``words``, ``contexts``), which ``pandas.read_parquet`` can read. :meth:`open` opens such a file.

    Args:
        table: One row per latent, in ascending order.
    """

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self._latents = table.column("latent").to_numpy()
        self.description: dict[str, Any] = json.loads(table.schema.metadata[DESCRIPTION])

    @classmethod
    def build(cls, model: SaeSplade, documents: Iterable[Mapping[str, Any]], *, verbose: bool | None = None) -> Lexicon:
        """Builds the lexicon of a model from a collection, which is streamed.

        Memory is bounded by 64 words per latent, whatever the number of documents: after every 1,024 documents, the
        words with the lowest weights are dropped. The counts of a word that is spread thinly over a large collection
        may therefore be too low.

        Args:
            model: The model.
            documents: Dictionaries with ``docno`` and ``text``.
            verbose: Whether to show a progress bar; ``None`` for the setting of the model.

        Raises:
            DataError: If there are no documents, or one lacks a field.

        Examples:
            >>> lexicon = Lexicon.build(model, dataset.get_corpus_iter())
            >>> concept = lexicon.of_word("bank")[0]
            >>> "bank" in lexicon.words(concept.latent)
            True
        """
        builder = _LexiconBuilder(model)
        verbose = model.verbose if verbose is None else verbose
        with pt.tqdm(desc="Reading concepts", unit="doc", disable=not verbose) as bar:
            for window in chunked(documents, _WINDOW):
                builder.add(window)
                bar.update(len(window))
        if not builder.statistics.n_docs:
            raise DataError("there are no documents to build a lexicon from")
        return cls(builder.table())

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Lexicon:
        """Opens a file written by :meth:`write`.

        Raises:
            PathNotFoundError: If there is no such file.
            DataError: If it is not a lexicon.

        Examples:
            >>> lexicon.write("lexicon.parquet")
            >>> Lexicon.open("lexicon.parquet").n_docs
            12
        """
        if not Path(path).is_file():
            raise PathNotFoundError(f"there is no lexicon at {path}: make one with saesplade concepts --collection")
        try:
            table = pq.read_table(path)
        except pa.ArrowInvalid as error:
            raise DataError(f"{path} is not a lexicon: it is not a Parquet file") from error
        if not table.schema.equals(_SCHEMA) or DESCRIPTION not in (table.schema.metadata or {}):
            raise DataError(f"{path} is not a lexicon: its columns are {', '.join(table.schema.names)}")
        return cls(table)

    def write(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Writes the lexicon to a Parquet file.

        Raises:
            PathExistsError: If the file exists and ``overwrite`` is false.
        """
        path = Path(path)
        require_new(path, overwrite=overwrite)
        with atomic_write(path) as partial:
            pq.write_table(self._table, partial)

    @staticmethod
    def path(model: SaeSplade) -> Path:
        """Returns the default path of a model's lexicon: ``concepts.parquet`` in the folder of the model.

        Raises:
            SettingError: If the model is on the hub, not in a folder.
        """
        if not Path(model.source).is_dir():
            raise SettingError(f"{model.source} is not a folder: name a file for the lexicon (--lexicon)")
        return Path(model.source) / _FILE

    @classmethod
    def of_model(cls, model: SaeSplade) -> Lexicon | None:
        """Returns the lexicon in a model's folder, or ``None`` if there is none or its fingerprint differs."""
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
        """The number of documents from which the lexicon was built."""
        return int(self.description["n_docs"])

    def __len__(self) -> int:
        """Returns the number of latents that are active in the collection."""
        return len(self._latents)

    def __iter__(self) -> Iterator[Concept]:
        """Iterates over the concepts, in ascending order of latents."""
        return map(self._concept, range(len(self)))

    def concept(self, latent: int) -> Concept | None:
        """Returns the concept of a latent, or ``None`` if it is not active in any document."""
        row = int(np.searchsorted(self._latents, latent))
        return self._concept(row) if row < len(self) and self._latents[row] == latent else None

    def words(self, latent: int, limit: int | None = None) -> list[str]:
        """Returns up to ``limit`` words of a latent, in descending order of weight; empty if no document has it."""
        concept = self.concept(latent)
        return [] if concept is None else list(concept.words[:limit])

    def of_word(self, word: str) -> list[Concept]:
        """Returns the concepts that a word activates in the collection, in descending order of the weight it gives."""
        words = self._table.column("words").combine_chunks()
        entries = pc.list_flatten(words)
        found = np.flatnonzero(pc.equal(entries.field("word"), word.lower()).to_numpy(zero_copy_only=False))
        weights = entries.field("weight").to_numpy()[found]
        rows = pc.list_parent_indices(words).to_numpy()[found]
        return [self._concept(row) for row in rows[np.argsort(-weights, kind="stable")].tolist()]

    def activated_by(self, model: SaeSplade, text: str) -> list[tuple[float, Concept]]:
        """Returns the concepts that a text activates in a model, with their weights, in descending order.

        Latents that are not active in any document of the collection are included, without words.

        Raises:
            ModelMismatchError: If the lexicon was built with another model.

        Examples:
            >>> weight, concept = lexicon.activated_by(model, "river bank")[0]
            >>> weight > 0
            True
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


class _LexiconBuilder:
    """The words and contexts gathered from the documents so far.

    Words have one row per latent and word, with the number of documents in which the word gave the latent its weight,
    and the sum of these weights. Contexts have one row per latent and position.
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
        assert vectors.positions is not None
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
        """Cuts contexts out of the texts only at positions that are stronger than those kept so far."""
        candidates = _first(postings.assign(docno=np.array(docnos, object)[postings["text"]]), _STRENGTH, _CONTEXTS)
        best = _first(pd.concat([self._contexts, candidates]), _STRENGTH, _CONTEXTS)
        if "before" not in best:
            best = best.assign(before=None, word=None, after=None)
        new = best["before"].isna().to_numpy()
        places = best.loc[new, ["text", "position"]].astype(int).itertuples(index=False)
        parts = [_context(texts[text], tokens[text][position]) for text, position in places]
        best.loc[new, ["before", "word", "after"]] = np.array(parts, object).reshape(-1, 3)
        # Collections contain duplicates: one of several equal contexts is enough.
        self._contexts = best.drop_duplicates(["latent", "before", "word", "after"])

    def table(self) -> pa.Table:
        """Returns the table of the lexicon."""
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


#: The columns that rank the positions of a latent; ties are broken by docno.
_STRENGTH = ["latent", "weight", "docno"]


def _first(frame: pd.DataFrame, keys: list[str], count: int) -> pd.DataFrame:
    """Returns the ``count`` rows of each latent with the largest weights.

    The three ``keys`` are the columns of the latent, the weight, and the value that breaks ties.
    """
    ordered = frame.sort_values(keys, ascending=[True, False, True], kind="stable", ignore_index=True)
    return ordered[ordered.groupby("latent").cumcount() < count]


def _lists(frame: pd.DataFrame, column: str) -> pa.ListArray:
    """Returns the rows of each latent as a list, in ascending order of latents; every latent has at least one row."""
    kind = _SCHEMA.field(column).type
    fields = [kind.value_type.field(i) for i in range(kind.value_type.num_fields)]
    arrays = [pa.array(frame[of_row.name], of_row.type, from_pandas=False) for of_row in fields]
    counts = frame.groupby("latent").size().to_numpy()
    bounds = pa.array(np.concatenate(([0], np.cumsum(counts))).astype(np.int32))
    return pa.ListArray.from_arrays(bounds, pa.StructArray.from_arrays(arrays, fields=fields))


def _context(text: str, token: Token) -> tuple[str, str, str]:
    """Returns some of the text before the word of a token, the word, and some of the text after, cut at spaces."""
    before, after = text[max(0, token.start - _CONTEXT) : token.start], text[token.end : token.end + _CONTEXT]
    if token.start > _CONTEXT:
        before = f"… {before.partition(' ')[2]}"
    if token.end + _CONTEXT < len(text):
        after = f"{after.rpartition(' ')[0]} …"
    before, after = (" ".join(part.split()) for part in (before, after))
    joined_before = " " if token.start and text[token.start - 1].isspace() else ""
    joined_after = " " if text[token.end : token.end + 1].isspace() else ""
    return f"{before}{joined_before}", token.word(text), f"{joined_after}{after}"
