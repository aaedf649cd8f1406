"""The model that users work with. It creates transformers, indexers and retrievers."""

from __future__ import annotations

import atexit
import dataclasses
import itertools
import os
import shutil
import tempfile
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
from pyterrier_saesplade.errors import DataError, ModelError, PathNotFoundError, SettingError
from pyterrier_saesplade.factory import ModelFactory
from pyterrier_saesplade.files import atomic_write, require_new
from pyterrier_saesplade.impacts import Pruning, Terms, as_texts, terms_of
from pyterrier_saesplade.model import SaeSpladeConfig, check_k, check_width, parse_model_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pyterrier_saesplade.concepts import Explanation, Lexicon
    from pyterrier_saesplade.engines import ConceptIndex
    from pyterrier_saesplade.inference_free import InferenceFree
    from pyterrier_saesplade.training import FinetuneConfig, PretrainConfig, TrainingData
    from pyterrier_saesplade.types import Head, Precision, Side, Weighting
    from pyterrier_saesplade.vectors import ConceptVectors


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
    """A SAE-SPLADE or SPLADE model for PyTerrier.

    Create one with :meth:`from_pretrained`, :meth:`from_splade` or :meth:`pretrain`. The model is lazy: its weights are
    loaded when the first text is encoded. It is pickled as its source and settings. Models that produce the same
    vectors compare equal.

    Args:
        source: Folder or hub name.
        head: The kind of model at the source: ``"sae"`` for SAE-SPLADE, ``"mlm"`` for a SPLADE checkpoint.
        k: Number of latents per token, to override the model's setting.
        width: Use only this many of the first latents. For a Matryoshka SAE, this gives a smaller vocabulary.
        doc_max_length: Maximum number of word pieces per document, including markers, to override the model's setting.
        query_max_length: The same for queries.
        device: Where to compute; ``None`` for the first GPU, or the CPU if there is none.
        precision: ``"float32"``, ``"bfloat16"``, or ``"auto"`` for bfloat16 on devices that support it.
        verbose: Whether transformers created from this model show progress by default.

    Raises:
        PathNotFoundError: If there is no model at the source.
        ModelError: If the model is of another kind.
        SettingError: If a setting is out of range.
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
        pick_device(device)  # raises an error now instead of when the first text is encoded
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
        if head == "mlm" and width is not None:
            raise SettingError(f"width applies to SAE-SPLADE models only, and {self.source} is a SPLADE checkpoint")
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
        """Opens a SPLADE checkpoint (``AutoModelForMaskedLM``). Its latents are word pieces.

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
        """Learns a vocabulary of concepts from a corpus without labels. This takes minutes on a laptop.

        Args:
            backbone: Folder or hub name of any encoder. It is not changed.
            documents: Dictionaries with ``docno`` and ``text``, such as those of ``dataset.get_corpus_iter()``; or the
                folder or name of a collection for :func:`~pyterrier_saesplade.open_collection`.
            out: The folder to write; required under ``torchrun``. Without it, the model is deleted when Python ends
                unless it is saved with :meth:`save_pretrained`, and a killed run cannot be resumed.
            width: Number of latents, M; by default 16,384.
            k: Number of latents per token; by default 8.
            doc_max_length: Maximum number of word pieces per document; by default 128.
            steps: Number of training steps; by default 250.
            seed: The random seed.
            queries: Query texts that are mixed in, in proportion to their number.
            config: All settings. The arguments above override it.
            device: Where to compute; ``None`` for the first GPU, or the CPU if there is none.
            verbose: Whether to show progress.

        Returns:
            The model, which is lazy like any other.

        Raises:
            PathExistsError: If ``out`` exists.
            SettingError: If a setting is out of range, or there are several processes but no ``out``.
            DataError: If there are no documents.

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
        """Trains the model to rank and returns a new model. This model is not changed.

        Args:
            data: The training data, as read by :mod:`pyterrier_saesplade.training.data.sources`; or a collection, or
                its folder or name, with qrels for its query set ``train``.
            out: The folder to write. If it is missing, the same applies as for :meth:`pretrain`.
            config: The settings; by default those for a laptop.
            validation: Validation queries; by default some queries of ``data`` are held out if validation is enabled.
            verbose: Whether to show progress; ``None`` for the setting of the model.

        Returns:
            The new model, which is lazy like any other. It inherits the ``k``, width and lengths set for this model.

        Raises:
            PathExistsError: If ``out`` exists.
            DataError: If the data cannot be used.
            SettingError: If a setting is out of range.
            CollapsedError: If the trained model no longer retrieves.

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
        """Learns a table of latents per word piece, which encodes queries without the network.

        Args:
            documents: Dictionaries with a text, or the folder or name of a collection. They should be the documents
                that will be searched, or similar ones.
            latents: Number of latents per word piece.
            sample: Number of documents to read; the first ones are used.
            text_field: The key of the text.
            verbose: Whether to show progress; ``None`` for the setting of the model.

        Raises:
            DataError: If no document has a text, or a document lacks the key.
            SettingError: If ``latents`` or ``sample`` is not positive.

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
            raise DataError(f"no document has a text under {text_field!r}: there is nothing to learn a table from")
        verbose = self._wants_progress(verbose)
        table = learn_table(self._encoder, texts, k=self.k, max_length=self.doc_max_length, verbose=verbose)
        return InferenceFree(self, Pruning(k=latents).prune(table), verbose=verbose)

    def save_pretrained(self, path: str | os.PathLike[str]) -> None:
        """Writes the model to a folder that :meth:`from_pretrained` opens, with the current settings as its defaults.

        Raises:
            PathExistsError: If the folder exists.

        Examples:
            >>> model.save_pretrained("copy")
            >>> SaeSplade.from_pretrained("copy") == model
            True
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

    # ------------------------------------------------------------------ properties

    @property
    def fingerprint(self) -> str:
        """Identifies the document vectors: weights, tokenizer and document-side settings (hexadecimal).

        The configuration of a model that :meth:`save_pretrained` or training wrote contains the digests that are
        needed. For other models, such as SPLADE checkpoints, the weights are loaded.
        """
        overrides = {"k": self.k, "width": self._width, "doc_max_length": self.doc_max_length}
        return self._full_config.fingerprint(**{name: value for name, value in overrides.items() if value is not None})

    @property
    def weighting(self) -> Weighting:
        """What an index multiplies query weights by: ``"idf"`` for a model trained without labels, else ``"none"``."""
        return self._config.weighting if isinstance(self._config, SaeSpladeConfig) else "none"

    @cached_property
    def terms(self) -> Terms:
        """The names of the latents."""
        config = self._config
        # The names of SAE latents follow from the width; the names of word pieces need the tokenizer.
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
            texts: The texts. The vector of ``None`` or an empty string is empty.
            side: ``"doc"`` or ``"query"``. The two sides have different maximum lengths and may have markers.
            k: Number of latents per token, to override the model's setting.
            positions: Whether to return the token position that produced each weight.
            verbose: Whether to show progress; ``None`` for the setting of the model.

        Returns:
            One row per text, with float weights.

        Raises:
            SettingError: If ``texts`` is a string, or a setting is invalid.

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
        """Returns the word pieces of texts, with their words, at the positions that :meth:`encode` reports.

        Examples:
            >>> [token.word("a text") for token in model.tokens(["a text"])[0]]
            ['[CLS]', 'a', 'text', '[SEP]']
        """
        return self._tokenize.tokens(texts, side, self._length("tokens", texts, side))

    def token_ids(self, texts: Sequence[str | None], side: Side = "query") -> list[list[int]]:
        """Returns the token ids of texts, including markers and special tokens.

        Examples:
            >>> model.token_ids(["a text"])
            [[101, 1037, 3793, 102]]
        """
        return self._tokenize(texts, side, self._length("token_ids", texts, side))

    def encode_tokens(self, texts: Sequence[str | None], side: Side = "doc") -> Iterator[EncodedTokens]:
        """Encodes the individual tokens of texts in context: the latents that each token activates.

        Yields:
            For each text, the ids of its tokens, their hidden states and their concept vectors.

        Examples:
            >>> [tokens] = model.encode_tokens(["a text"])
            >>> tokens.token_ids.tolist(), len(tokens.vectors)
            ([101, 1037, 3793, 102], 4)
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
        """Explains the score of a document: the latents that it shares with the query, and the tokens they come from.

        The contributions sum to the score that the document has in the index, including idf, quantisation and pruning.
        The document is encoded again on its own. When it was indexed, the other texts in its batch may have caused
        different rounding, which can change an impact by one level: see :class:`~pyterrier_saesplade.encoding.Encoder`.

        Args:
            query: The query.
            document: The text of the document.
            index: The index that this model built, or its folder. Without it, unweighted float vectors are used.
            lexicon: The words of the latents: see :class:`~pyterrier_saesplade.concepts.lexicon.Lexicon`.

        Raises:
            PathNotFoundError: If there is no such folder.
            ModelMismatchError: If another model built the index or the lexicon.

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
        """Returns the same model with other settings: keyword arguments of the constructor.

        Examples:
            >>> SaeSplade.from_pretrained("my-model", k=16).replace(k=4)
            SaeSplade.from_pretrained('my-model', k=4)
        """
        return type(self)(self.source, **{**self._settings(), "verbose": self.verbose, **settings})

    # ------------------------------------------------------------------ special methods

    def __eq__(self, other: object) -> bool:
        """Returns whether the other model was given the same settings and produces the same vectors."""
        if not isinstance(other, SaeSplade) or self._settings() != other._settings():
            return False
        if self.source == other.source:
            return True
        return self.fingerprint == other.fingerprint and self._query_side() == other._query_side()

    def __hash__(self) -> int:
        """Returns a hash that agrees with ``==``."""
        return hash(tuple(self._settings().values()))

    def __repr__(self) -> str:
        """Returns the call that creates the model."""
        defaults = {"head": self.head, "precision": "auto"}
        changed = {name: value for name, value in self._settings().items() if value != defaults.get(name)}
        arguments = ", ".join([repr(self.source), *(f"{name}={value!r}" for name, value in changed.items())])
        return f"SaeSplade.{'from_pretrained' if self.head == 'sae' else 'from_splade'}({arguments})"

    def __getstate__(self) -> dict[str, Any]:
        """Pickles the model without its weights, which are loaded again from the source."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_encoder", "_tokenize", "terms")}

    @cached_property
    def _encoder(self) -> Encoder:
        if self.head == "mlm":
            return Encoder.from_splade(self.source, device=self.device, precision=self.precision)
        return Encoder.from_pretrained(self.source, width=self._width, device=self.device, precision=self.precision)

    @cached_property
    def _tokenize(self) -> TextTokenizer:
        """The tokenizer. For a model of this package it does not load the weights."""
        if "_encoder" in self.__dict__ or not isinstance(self._config, SaeSpladeConfig):
            return self._encoder.tokenize
        with quiet_transformers():
            return TextTokenizer(AutoTokenizer.from_pretrained(self.source), self._config)

    @property
    def _full_config(self) -> SaeSpladeConfig:
        """The configuration with digests. The encoder computes them if the source has none."""
        config = self._config
        if isinstance(config, SaeSpladeConfig) and config.weights_digest and config.tokenizer_digest:
            return config
        return self._encoder.config

    def _query_side(self) -> tuple[object, ...]:
        """Returns the query-side settings, which are not part of the fingerprint."""
        config = self._full_config
        return self.query_max_length or config.query_max_length, config.query_marker, config.weighting

    def _length(self, method: str, texts: object, side: Side) -> int | None:
        """Returns the maximum length of texts, or ``None`` for that of the model."""
        if isinstance(texts, str):
            raise SettingError(f"{method} takes a list of texts: write {method}([{texts[:20]!r}])")
        if side not in ("doc", "query"):
            raise SettingError(f"side must be 'doc' or 'query', not {side!r}")
        return self.doc_max_length if side == "doc" else self.query_max_length

    def _settings(self) -> dict[str, Any]:
        names = ("head", "k", "doc_max_length", "query_max_length", "device", "precision")
        return {name: getattr(self, name) for name in names} | {"width": self._width}


def open_model(name: str | os.PathLike[str], **settings: Unpack[ModelSettings]) -> SaeSplade:
    """Opens a SAE-SPLADE model, or a SPLADE checkpoint that is written as ``splade=NAME``.

    Args:
        name: Folder or hub name.
        **settings: Settings of :class:`SaeSplade`.

    Examples:
        >>> open_model("my-model", k=16)
        SaeSplade.from_pretrained('my-model', k=16)
    """
    return SaeSplade(*parse_model_name(name), **settings)


def _temporary_folder() -> Path:
    """Returns the path of a new folder, which is removed when Python ends."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise SettingError("pass out=: several processes train one model, and need a folder that all of them can read")
    parent = tempfile.mkdtemp(prefix="saesplade-")
    atexit.register(shutil.rmtree, parent, ignore_errors=True)
    return Path(parent) / "model"


def _read_config(source: str, head: Head) -> PreTrainedConfig:
    try:
        kind = PreTrainedConfig.get_config_dict(source)[0].get("model_type")
    except (OSError, ValueError) as error:
        raise PathNotFoundError(
            f"there is no model at {source}: neither a folder with a config.json nor a model on the hub (if the hub "
            "could be reached)"
        ) from error
    if (kind == SaeSpladeConfig.model_type) != (head == "sae"):
        advice = (
            "open a SPLADE checkpoint with SaeSplade.from_splade; for any other encoder, learn concepts with "
            "SaeSplade.pretrain"
            if head == "sae"
            else "open it with SaeSplade.from_pretrained"
        )
        raise ModelError(f"{source} is a model of type {kind!r}: {advice}")
    config: PreTrainedConfig = (SaeSpladeConfig if head == "sae" else AutoConfig).from_pretrained(source)
    return config
