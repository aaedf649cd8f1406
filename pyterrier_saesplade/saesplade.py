"""What a PyTerrier user holds: a model that makes stages, indexes and retrievers."""

from __future__ import annotations

import atexit
import dataclasses
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig

from pyterrier_saesplade.checks import require_positive, require_precision
from pyterrier_saesplade.collections import Collection, open_collection
from pyterrier_saesplade.documents import field
from pyterrier_saesplade.encoding import (
    EncodedTokens,
    Encoder,
    TextTokenizer,
    Token,
    learn_table,
    pick_device,
    quiet_transformers,
)
from pyterrier_saesplade.errors import PathNotFoundError, SettingError
from pyterrier_saesplade.factory import ModelFactory
from pyterrier_saesplade.files import atomic_write, require_new
from pyterrier_saesplade.impacts import Pruning, Terms, as_texts, terms_of
from pyterrier_saesplade.model import SaeSpladeConfig, check_k, check_width, parse_model_name
from pyterrier_saesplade.types import Head, Precision, Side, Weighting
from pyterrier_saesplade.vectors import ConceptVectors

if TYPE_CHECKING:
    from pyterrier_saesplade.concepts import Explanation, Lexicon
    from pyterrier_saesplade.engines import ConceptIndex
    from pyterrier_saesplade.inference_free import InferenceFree
    from pyterrier_saesplade.training import FinetuneConfig, PretrainConfig, TrainingData


class ModelSettings(TypedDict, total=False):
    """The keyword arguments of :class:`SaeSplade`."""

    k: int | None
    width: int | None
    doc_max_length: int | None
    query_max_length: int | None
    device: str | None
    precision: Precision
    verbose: bool


class SaeSplade(ModelFactory):
    """A SAE-SPLADE model, or a SPLADE one, as PyTerrier uses it.

    Make one with :meth:`from_pretrained`, :meth:`from_splade` or :meth:`pretrain`. It is lazy: its weights are loaded
    at the first text. It is pickled as its source and settings, and equal to another model that gives the same vectors.

    Args:
        source: Folder or hub name.
        head: What the source is: ``"sae"`` a SAE-SPLADE model, ``"mlm"`` any SPLADE checkpoint.
        k: Latents kept per token, in place of the model's.
        width: Only the first so many latents: of a Matryoshka SAE a smaller vocabulary.
        doc_max_length: Word pieces kept per document, markers included, in place of the model's.
        query_max_length: The same for queries.
        device: Where to compute; ``None``: the first GPU, else the CPU.
        precision: ``"float32"``, ``"bfloat16"``, or ``"auto"``: bfloat16 where the device has it.
        verbose: Whether stages made from this model show progress, unless told otherwise.

    Raises:
        FileNotFoundError: If there is no model at the source.
        ValueError: If the model is of another kind, or a setting is out of range.
    """

    def __init__(
        self,
        source: str | os.PathLike[str],
        head: Head = "sae",
        *,
        k: int | None = None,
        width: int | None = None,
        doc_max_length: int | None = None,
        query_max_length: int | None = None,
        device: str | None = None,
        precision: Precision = "auto",
        verbose: bool = False,
    ) -> None:
        require_positive(k=k, width=width, doc_max_length=doc_max_length, query_max_length=query_max_length)
        require_precision(precision)
        pick_device(device)  # an error now, not when the first text is encoded
        self.source = str(source)
        self.head = head
        self.k = k
        self.doc_max_length = doc_max_length
        self.query_max_length = query_max_length
        self.device = device
        self.precision = precision
        self.verbose = verbose
        self._config = _read_config(self.source, head)
        self._width = width
        if isinstance(self._config, SaeSpladeConfig):
            if width is not None:
                check_width(width, self._config)
                self._config.width = width
            check_k(k or self._config.k, self._config.width)

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike[str], **settings: Unpack[ModelSettings]) -> SaeSplade:
        """Opens a SAE-SPLADE model; see the class for the settings.

        Examples:
            >>> SaeSplade.from_pretrained("my-model", k=16)
            SaeSplade.from_pretrained('my-model', k=16)
        """
        return cls(name_or_path, "sae", **settings)

    @classmethod
    def from_splade(cls, name_or_path: str | os.PathLike[str], **settings: Unpack[ModelSettings]) -> SaeSplade:
        """Opens any SPLADE checkpoint (``AutoModelForMaskedLM``), whose latents are word pieces.

        Examples:
            >>> splade = SaeSplade.from_splade("naver/splade-v3")
            >>> splade.terms.name(4937)
            'cat'
        """
        return cls(name_or_path, "mlm", **settings)

    @classmethod
    def pretrain(
        cls,
        backbone: str | os.PathLike[str],
        documents: Iterable[Mapping[str, Any]] | str | os.PathLike[str],
        *,
        out: str | os.PathLike[str] | None = None,
        width: int | None = None,
        k: int | None = None,
        doc_max_length: int | None = None,
        steps: int | None = None,
        seed: int | None = None,
        queries: Iterable[str] = (),
        config: PretrainConfig | None = None,
        device: str | None = None,
        verbose: bool = False,
    ) -> SaeSplade:
        """Learns a vocabulary of concepts from a corpus, without a label; minutes on a laptop.

        Args:
            backbone: Folder or hub name of any encoder; it is not changed.
            documents: Dictionaries with ``docno`` and ``text``, as ``dataset.get_corpus_iter()`` gives them; or a
                collection's folder or name, as :func:`~pyterrier_saesplade.open_collection` takes it.
            out: The folder to write. Without one the model is gone when Python ends, unless it is kept with
                :meth:`save_pretrained`, and a run that is killed cannot go on; under ``torchrun`` it must be given.
            width: The number of latents, M; by default 16,384.
            k: Latents kept per token; by default 8.
            doc_max_length: Word pieces kept per document; by default 128.
            steps: Steps of training; by default 250.
            seed: Of everything random.
            queries: Texts of queries that are mixed in, in proportion to their number.
            config: All the settings; those named above go before it.
            device: Where to compute; ``None``: the first GPU, else the CPU.
            verbose: Whether to show progress.

        Returns:
            The model, which is lazy as any other.

        Raises:
            FileExistsError: If ``out`` exists.
            ValueError: If a setting is out of range, there are no documents, or several processes have no ``out``.

        Examples:
            >>> model = SaeSplade.pretrain("distilbert-base-uncased", documents, out="sae", width=256, k=4, steps=2)
            >>> model.width, model.weighting
            (256, 'idf')
        """
        from pyterrier_saesplade.training import PretrainConfig, pretrain

        given = {"width": width, "k": k, "doc_max_length": doc_max_length, "steps": steps, "seed": seed}
        settings: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if isinstance(documents, str | os.PathLike):
            documents = open_collection(documents).get_corpus_iter()
        trained = pretrain(
            backbone,
            documents,
            _temporary_folder() if out is None else out,
            dataclasses.replace(config or PretrainConfig(), **settings),
            queries=queries,
            device=device,
            verbose=verbose,
        )
        return cls.from_pretrained(trained, device=device, verbose=verbose)

    def finetune(
        self,
        data: TrainingData | Sequence[TrainingData] | Collection | str | os.PathLike[str],
        *,
        out: str | os.PathLike[str] | None = None,
        config: FinetuneConfig | None = None,
        validation: TrainingData | None = None,
        verbose: bool | None = None,
    ) -> SaeSplade:
        """Trains the model to rank; the new one is another, and this one stays as it is.

        Args:
            data: What to train on, as :mod:`pyterrier_saesplade.training.data.sources` reads it; or a collection, its
                folder or its name, whose query set ``train`` has judgements.
            out: The folder to write; without one as for :meth:`pretrain`.
            config: The settings; ``None``: those for a laptop.
            validation: Queries to validate with; ``None``: some of ``data`` are held out, if there are validations.
            verbose: Whether to show progress; ``None``: as the model does.

        Returns:
            The new model, lazy as any other. What this one's ``k``, width and lengths were set to are its own.

        Raises:
            FileExistsError: If ``out`` exists.
            ValueError: If the data or a setting cannot be used, or training went wrong.

        Examples:
            >>> config = FinetuneConfig(steps=2, batch_queries=2, nway=2)
            >>> tuned = model.finetune("my-collection", out="tuned", config=config)
            >>> tuned.weighting
            'none'
        """
        from pyterrier_saesplade.training import FinetuneConfig, finetune, read_labels

        if isinstance(data, Collection | str | os.PathLike):
            data = read_labels(data)
        given = {name: getattr(self, name) for name in ("k", "doc_max_length", "query_max_length")}
        given["width"] = self._width
        settings = config or FinetuneConfig()
        unset = {name: value for name, value in given.items() if value is not None and getattr(settings, name) is None}
        trained = finetune(
            self.source if self.head == "sae" else f"splade={self.source}",
            data,
            _temporary_folder() if out is None else out,
            dataclasses.replace(settings, **unset),
            validation=validation,
            device=self.device,
            verbose=self._wants_progress(verbose),
        )
        return type(self).from_pretrained(trained, device=self.device, precision=self.precision, verbose=self.verbose)

    def inference_free(
        self,
        documents: Iterable[Mapping[str, Any]] | str | os.PathLike[str],
        *,
        latents: int = 16,
        sample: int = 20_000,
        text_field: str = "text",
        verbose: bool | None = None,
    ) -> InferenceFree:
        """Learns a table of latents per word piece, by which queries are encoded without the network.

        Args:
            documents: Dictionaries with a text, or a collection's folder or name: those that will be searched, or some
                like them.
            latents: Kept per word piece.
            sample: The first so many documents are read.
            text_field: The key of the text.
            verbose: Whether to show progress; ``None``: as the model does.

        Raises:
            ValueError: If no document has a text, or one lacks the key.

        Examples:
            >>> fast = model.inference_free(dataset.get_corpus_iter())
            >>> fast.retriever(index).search("young cat").columns.tolist()
            ['qid', 'query', 'query_toks', 'docno', 'score', 'rank']
        """
        from pyterrier_saesplade.inference_free import InferenceFree

        require_positive(latents=latents, sample=sample)
        if isinstance(documents, str | os.PathLike):
            documents = open_collection(documents).get_corpus_iter()
        texts = as_texts(field(document, text_field) for document in itertools.islice(documents, sample))
        if not any(text and text.strip() for text in texts):
            raise SettingError(f"no document has a text under {text_field!r}: there is nothing to learn a table from")
        verbose = self._wants_progress(verbose)
        table = learn_table(self._encoder, texts, k=self.k, max_length=self.doc_max_length, verbose=verbose)
        return InferenceFree(self, Pruning(k=latents).prune(table), verbose=verbose)

    def save_pretrained(self, path: str | os.PathLike[str]) -> None:
        """Writes the model to a folder that :meth:`from_pretrained` opens; the settings given here become its own.

        Raises:
            FileExistsError: If the folder exists.
        """
        path = Path(path)
        require_new(path)
        with atomic_write(path) as partial:
            self._encoder.save_pretrained(partial)
            config = SaeSpladeConfig.from_pretrained(partial)
            for name in ("k", "doc_max_length", "query_max_length"):
                if getattr(self, name) is not None:
                    setattr(config, name, getattr(self, name))
            config.save_pretrained(partial)

    # ------------------------------------------------------------------ what it is

    @property
    def fingerprint(self) -> str:
        """Identifies the vectors of documents: weights, tokenizer and document-side settings (hexadecimal).

        A model that :meth:`save_pretrained` or a training wrote has what it takes in its configuration; for others, a
        SPLADE checkpoint for one, the weights are loaded.
        """
        overrides = {"k": self.k, "width": self._width, "doc_max_length": self.doc_max_length}
        return self._full_config.fingerprint(**{name: value for name, value in overrides.items() if value is not None})

    @property
    def weighting(self) -> Weighting:
        """What an index multiplies queries by: ``"idf"`` for a model without labels, else ``"none"``."""
        return self._config.weighting if isinstance(self._config, SaeSpladeConfig) else "none"

    @cached_property
    def terms(self) -> Terms:
        """The names of the latents."""
        config = self._config
        # Word pieces stand in the tokenizer; pseudo-terms follow from the width alone.
        numbered = isinstance(config, SaeSpladeConfig) and config.head == "sae"
        return Terms(config.width) if numbered else terms_of(self._encoder.config, self._encoder.tokenizer)

    @property
    def width(self) -> int:
        """The number of latents, M."""
        return len(self.terms)

    def encode(
        self,
        texts: Sequence[str | None],
        side: Side = "doc",
        *,
        k: int | None = None,
        positions: bool = False,
        verbose: bool | None = None,
    ) -> ConceptVectors:
        """Encodes texts.

        Args:
            texts: The texts; ``None`` and empty ones have an empty vector.
            side: ``"doc"`` or ``"query"``: they are cut at different lengths and may be marked.
            k: Latents kept per token, in place of the model's.
            positions: Whether to return the token position that gave each weight.
            verbose: Whether to show progress; ``None``: as the model does.

        Returns:
            One row per text, with float weights.

        Examples:
            >>> vectors = model.encode(["a text", ""])
            >>> latents, weights = vectors.row(0)
            >>> len(vectors), weights.dtype
            (2, dtype('float32'))
        """
        max_length = self._length("encode", texts, side)
        return self._encoder.encode(
            texts,
            side=side,
            k=self.k if k is None else k,
            max_length=max_length,
            positions=positions,
            verbose=self._wants_progress(verbose),
        )

    def tokens(self, texts: Sequence[str], side: Side = "doc") -> list[list[Token]]:
        """Returns the word pieces of texts, with their words, in the positions that :meth:`encode` counts.

        Examples:
            >>> [token.word("a text") for token in model.tokens(["a text"])[0]]
            ['[CLS]', 'a', 'text', '[SEP]']
        """
        return self._tokenize.tokens(texts, side, self._length("tokens", texts, side))

    def token_ids(self, texts: Sequence[str | None], side: Side = "query") -> list[list[int]]:
        """Returns the numbers of the word pieces of texts, markers and special ones included.

        Examples:
            >>> model.token_ids(["a text"])
            [[101, 1037, 3793, 102]]
        """
        return self._tokenize(texts, side, self._length("token_ids", texts, side))

    def encode_tokens(self, texts: Sequence[str | None], side: Side = "doc") -> Iterator[EncodedTokens]:
        """Encodes the tokens of texts one by one, in their contexts: what each lights by itself.

        Yields:
            For each text the number of each word piece, its state, and its concept vector.
        """
        max_length = self._length("encode_tokens", texts, side)
        return self._encoder.encode_tokens(texts, side=side, k=self.k, max_length=max_length)

    def explain(
        self,
        query: str,
        document: str,
        *,
        index: ConceptIndex | str | os.PathLike[str] | None = None,
        lexicon: Lexicon | None = None,
    ) -> Explanation:
        """Says why a document has its score: the latents that it shares with the query, and where they come from.

        The contributions sum to the score that the index gives the document, which idf, quantisation and pruning of the
        index are part of. The document is encoded again, by itself: see :class:`~pyterrier_saesplade.encoding.Encoder`
        for what the texts beside it changed when it was indexed (a rounding, which can move an impact by one level).

        Args:
            query: The query.
            document: The document's text.
            index: The index that this model built, or its folder. ``None``: the float vectors, not weighted.
            lexicon: What names the latents' words: see :class:`~pyterrier_saesplade.concepts.lexicon.Lexicon`.

        Raises:
            FileNotFoundError: If there is no such folder.
            ValueError: If another model built the index or the lexicon.

        Examples:
            >>> explanation = model.explain("young cat", "A kitten is a young cat.", index="my-index")
            >>> explanation.frame.columns.tolist()
            ['latent', 'term', 'contribution', 'share', 'query_token', 'document_token', 'words']
        """
        from pyterrier_saesplade.concepts import explain

        opened = None if index is None else self._built(index)
        if lexicon is not None:
            lexicon.check(self)
        return explain(self, query, document, opened, lexicon)

    def replace(self, **settings: Any) -> SaeSplade:
        """Returns the same model with other settings, which are the constructor's keyword arguments.

        Examples:
            >>> SaeSplade.from_pretrained("my-model", k=16).replace(k=4)
            SaeSplade.from_pretrained('my-model', k=4)
        """
        return type(self)(self.source, **{**self._settings(), "verbose": self.verbose, **settings})

    # ------------------------------------------------------------------ Python

    def __eq__(self, other: object) -> bool:
        """Holds for a model that gives the same vectors by the same settings, as they were given here."""
        if not isinstance(other, SaeSplade) or self._settings() != other._settings():
            return False
        if self.source == other.source:
            return True
        return self.fingerprint == other.fingerprint and self._query_side() == other._query_side()

    def __hash__(self) -> int:
        """Agrees with ``==``."""
        return hash(tuple(self._settings().values()))

    def __repr__(self) -> str:
        """Returns the call that makes the model."""
        defaults = {"head": self.head, "precision": "auto"}
        changed = {name: value for name, value in self._settings().items() if value != defaults.get(name)}
        arguments = ", ".join([repr(self.source), *(f"{name}={value!r}" for name, value in changed.items())])
        return f"SaeSplade.{'from_pretrained' if self.head == 'sae' else 'from_splade'}({arguments})"

    def __getstate__(self) -> dict[str, Any]:
        """A model is pickled without its weights, which are loaded again from the source."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_encoder", "_tokenize", "terms")}

    @cached_property
    def _encoder(self) -> Encoder:
        if self.head == "mlm":
            return Encoder.from_splade(self.source, device=self.device, precision=self.precision)
        return Encoder.from_pretrained(self.source, width=self._width, device=self.device, precision=self.precision)

    @cached_property
    def _tokenize(self) -> TextTokenizer:
        """The tokenizer; for a model of this package the weights stay where they are."""
        if "_encoder" in self.__dict__ or not isinstance(self._config, SaeSpladeConfig):
            return self._encoder.tokenize
        with quiet_transformers():
            return TextTokenizer(AutoTokenizer.from_pretrained(self.source), self._config)

    @property
    def _full_config(self) -> SaeSpladeConfig:
        """The configuration with its digests, which the encoder computes where the source has none."""
        config = self._config
        if isinstance(config, SaeSpladeConfig) and config.weights_digest and config.tokenizer_digest:
            return config
        return self._encoder.config

    def _query_side(self) -> tuple[object, ...]:
        """Returns what the fingerprint, which is of documents, leaves out."""
        config = self._full_config
        return self.query_max_length or config.query_max_length, config.query_marker, config.weighting

    def _length(self, method: str, texts: object, side: Side) -> int | None:
        """Returns how texts are cut, if not as the model says."""
        if isinstance(texts, str):
            raise SettingError(f"{method} takes a list of texts: write {method}([{texts[:20]!r}])")
        if side not in ("doc", "query"):
            raise SettingError(f"side must be 'doc' or 'query', not {side!r}")
        return self.doc_max_length if side == "doc" else self.query_max_length

    def _settings(self) -> dict[str, Any]:
        names = ("head", "k", "doc_max_length", "query_max_length", "device", "precision")
        return {name: getattr(self, name) for name in names} | {"width": self._width}


def open_model(name: str | os.PathLike[str], **settings: Unpack[ModelSettings]) -> SaeSplade:
    """Opens a SAE-SPLADE model by its folder or hub name, or a SPLADE checkpoint, written ``splade=NAME``.

    Args:
        name: The name.
        **settings: Those of :class:`SaeSplade`.
    """
    return SaeSplade(*parse_model_name(name), **settings)


def _temporary_folder() -> Path:
    """Returns a folder to be, which is removed when Python ends."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise SettingError("give out=: several processes train one model, and need a folder that all of them see")
    parent = tempfile.mkdtemp(prefix="saesplade-")
    atexit.register(shutil.rmtree, parent, ignore_errors=True)
    return Path(parent) / "model"


def _read_config(source: str, head: Head) -> PreTrainedConfig:
    try:
        kind = PreTrainedConfig.get_config_dict(source)[0].get("model_type")
    except (OSError, ValueError) as error:
        raise PathNotFoundError(
            f"there is no model at {source}: no folder with a config.json, and none on the hub, if that was reached"
        ) from error
    if (kind == SaeSpladeConfig.model_type) != (head == "sae"):
        advice = (
            "open it with SaeSplade.from_splade if it is a SPLADE checkpoint; on any other encoder learn concepts with "
            "SaeSplade.pretrain"
            if head == "sae"
            else "open it with SaeSplade.from_pretrained"
        )
        raise SettingError(f"{source} is a model of type {kind!r}: {advice}")
    config: PreTrainedConfig = (SaeSpladeConfig if head == "sae" else AutoConfig).from_pretrained(source)
    return config
