"""The commands for the meaning of concepts: explain, concepts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pyterrier_saesplade.cli.options import (
    COLLECTION,
    MODEL,
    Device,
    DocMaxLength,
    K,
    Model,
    Overwrite,
    Precision,
    open_model,
    refuse,
)

app = typer.Typer(rich_markup_mode=None)


@app.command()
def explain(
    model: Model,
    query: Annotated[str, typer.Option(help="Text of the query.")],
    document: Annotated[str | None, typer.Option(help="Text of the document.")] = None,
    docno: Annotated[
        str | None, typer.Option(help="Docno of the document in --collection, instead of its text.")
    ] = None,
    collection: Annotated[str | None, COLLECTION] = None,
    index: Annotated[
        Path | None, typer.Option(help="Index whose score is explained. Without it, the score is the dot product.")
    ] = None,
    lexicon: Annotated[
        Path | None,
        typer.Option(help="Lexicon with the words of the latents. By default, the one in the model's folder, if any."),
    ] = None,
    k: K = None,
    doc_max_length: DocMaxLength = None,
    device: Device = None,
    precision: Precision = "auto",
) -> None:
    """Explain the score of a document for a query. Prints the shared latents, and the words that activate them.

    Example: saesplade explain --index concepts.index --model model --query "a query" --document "a text"
    """
    from pyterrier_saesplade.collections import open_collection
    from pyterrier_saesplade.concepts import Lexicon

    if (document is None) == (docno is None) or (docno is None) != (collection is None):
        raise typer.BadParameter("give either --document, or --docno and --collection")
    if collection is not None:
        documents = open_collection(collection).get_corpus_iter()
        document = next((known["text"] for known in documents if known["docno"] == docno), None)
        if document is None:
            raise typer.BadParameter(f"{collection} has no document {docno!r}")
    assert document is not None
    opened = open_model(model, k=k, doc_max_length=doc_max_length, device=device, precision=precision)
    words = Lexicon.of_model(opened) if lexicon is None else Lexicon.open(lexicon)
    print(opened.explain(query, document, index=index, lexicon=words))


@app.command()
def concepts(
    word: Annotated[str | None, typer.Argument(help="Word whose latents are printed.", show_default=False)] = None,
    model: Annotated[str | None, MODEL] = None,
    collection: Annotated[str | None, COLLECTION] = None,
    lexicon: Annotated[
        Path | None,
        typer.Option(help="Lexicon file, made from --collection if given. By default, MODEL/concepts.parquet."),
    ] = None,
    limit: Annotated[int, typer.Option(help="Maximum number of latents to print.", min=1)] = 5,
    k: K = None,
    doc_max_length: DocMaxLength = None,
    device: Device = None,
    precision: Precision = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Show which words activate which latents of a model. With --collection, this makes the lexicon first.

    Example: saesplade concepts --model model --collection docstrings
    """
    from pyterrier_saesplade.collections import open_collection
    from pyterrier_saesplade.concepts import Lexicon
    from pyterrier_saesplade.files import require_new

    if word is None and collection is None:
        raise typer.BadParameter("name a word, or give --collection to make a lexicon from")
    if model is None:
        refuse("--model", **{"--collection": collection, "--k": k, "--doc-max-length": doc_max_length})
    settings: dict[str, Any] = {"k": k, "doc_max_length": doc_max_length, "device": device, "precision": precision}
    opened = None if model is None else open_model(model, **settings)
    if lexicon is None:
        if opened is None:
            raise typer.BadParameter("give --lexicon, or --model, which has its lexicon in its folder")
        lexicon = Lexicon.path(opened)
    if collection is None:
        found = Lexicon.open(lexicon)
    else:
        assert opened is not None  # --collection without --model was refused above
        require_new(lexicon, overwrite=overwrite)
        found = Lexicon.build(opened, open_collection(collection).get_corpus_iter(), verbose=True)
        found.write(lexicon, overwrite=overwrite)
    if word is None:
        return
    if opened is not None:
        activated = found.activated_by(opened, word)[:limit]
        print(f"latents that the model activates for {word!r}:")
        for weight, concept in activated:
            print(f"{weight:5.2f}  {concept}")
        print()
    print(f"latents that {word!r} activates in the collection:")
    known = found.of_word(word)[:limit]
    print(*known, sep="\n") if known else print("none: the word is missing, or other words activate them more")
