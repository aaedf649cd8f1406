"""Explained scores: the contributions sum to the scores of the engines."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest

from pyterrier_saesplade.concepts import Lexicon
from pyterrier_saesplade.errors import ModelMismatchError, PathNotFoundError
from pyterrier_saesplade.impacts import Pruning, Quantization
from pyterrier_saesplade.saesplade import SaeSplade
from pyterrier_saesplade.vectors import ConceptVectors

Documents = list[dict[str, str]]

QUERIES = ["return the eigenvalues of a matrix", "read a file, line by line", "raise an error"]


@pytest.fixture(scope="module")
def encoded(model: SaeSplade, splade: SaeSplade, documents: Documents) -> dict[str, ConceptVectors]:
    """The vectors of both models. Each text is encoded alone: the others in its batch would change it by rounding."""
    return {
        name: ConceptVectors.concatenate([opened.encode([document["text"]]) for document in documents])
        for name, opened in (("model", model), ("splade", splade))
    }


@pytest.mark.parametrize(
    ("engine", "settings"),
    [
        pytest.param("terrier", {}, marks=pytest.mark.slow),
        ("pisa", {"quantization": Quantization(25)}),
        ("exact", {}),
        ("exact", {"quantization": Quantization(40, clip=50)}),
        pytest.param("terrier", {"pruning": Pruning(k=30, mass=0.9), "max_df": 0.3}, marks=pytest.mark.slow),
        ("exact", {"pruning": Pruning(max_ratio=0.3), "max_df": 0.2}),
    ],
)
@pytest.mark.parametrize("kind", ["model", "splade"])
@pytest.mark.filterwarnings("ignore:.*clipped")
def test_contributions_sum_to_the_score(
    request: pytest.FixtureRequest,
    documents: Documents,
    encoded: dict[str, ConceptVectors],
    tmp_path: Path,
    kind: str,
    engine: str,
    settings: dict[str, Any],
) -> None:
    """For several engines, with the quantisation and pruning of the index and the weighting of the model."""
    model: SaeSplade = request.getfixturevalue(kind)
    texts = {document["docno"]: document["text"] for document in documents}
    index = model.indexer(tmp_path / "index", engine, **settings).index_vectors([(list(texts), encoded[kind])])
    found = pd.concat([model.retriever(index, 6)(pt.new.queries([query])) for query in QUERIES])
    assert len(found) >= 12
    for row in found.itertuples():
        explained = model.explain(row.query, texts[row.docno], index=index)
        frame = explained.frame
        assert explained.score == pytest.approx(row.score, abs=1e-6)
        assert frame["contribution"].sum() == pytest.approx(row.score, abs=1e-6)
        assert frame["share"].sum() == pytest.approx(1)
        assert frame["contribution"].is_monotonic_decreasing
        assert (frame["contribution"] > 0).all()
        assert frame["latent"].is_unique


def test_without_an_index_the_vectors_are_floats(model: SaeSplade, documents: Documents) -> None:
    """They are neither weighted nor rounded. The tokens shown are those where a latent is strongest."""
    query, document = QUERIES[0], documents[0]["text"]
    explained = model.explain(query, document)
    query_vector, document_vector = (
        model.encode([text], side).to_csr(model.width) for text, side in ((query, "query"), (document, "doc"))
    )
    assert explained.score == pytest.approx(float((query_vector @ document_vector.T).toarray()[0, 0]), rel=1e-6)
    (encoded,), (tokens,) = model.encode_tokens([document]), model.tokens([document])
    alone = encoded.vectors.to_csr(model.width).toarray()
    for concept in explained.shared:
        strongest = alone[:, concept.latent] == alone[:, concept.latent].max()
        assert concept.document_token in {tokens[i] for i in np.flatnonzero(strongest)}
        assert concept.term == f"c{concept.latent}"


def test_no_shared_latents(model: SaeSplade) -> None:
    explained = model.explain("", "a text")
    assert (explained.score, explained.shared, len(explained.frame)) == (0.0, (), 0)
    assert str(explained).splitlines() == ["query     ", "document  a text", "score     0.000"]
    assert "0 shared latents" in explained._repr_html_()


def test_the_text_form(model: SaeSplade, documents: Documents) -> None:
    explained = model.explain(QUERIES[0], documents[0]["text"], lexicon=Lexicon.build(model, documents[:9]))
    header, document, score, *lines = str(explained).splitlines()
    assert header == f"query     {QUERIES[0]}"
    assert len(document) <= 210
    assert score == f"score     {explained.score:.3f}"
    assert len(lines) == min(len(explained.shared), 11)
    assert re.match(r" +\d\.\d{3} +\d+\.\d%  c\d+ +\S+ = \S+  \(.+\)$", lines[0])


def test_the_html_form(model: SaeSplade) -> None:
    """Texts are escaped, each word appears once, and truncated text is paler."""
    text = 'A <b>bold</b> & "quoted" unbelievably text' + " that goes on" * 20
    page = model.explain("<i>bold</i> unbelievably", text)._repr_html_()
    body = re.sub(r"<table.*</table>", "", page, flags=re.DOTALL)
    assert "<b>bold" not in page
    assert "<i>" not in page
    shown = re.sub(r"<[^>]*>", "", body).replace("[CLS]", "").replace("[SEP]", "")
    assert "A &lt;b&gt;bold&lt;/b&gt; &amp; &quot;quoted&quot; unbelievably text" in " ".join(shown.split())
    assert body.count("that goes on") + body.count("opacity: 0.5") > 2
    assert re.search(r'background: rgba\(255, 140, 0, 0\.60\); border-radius: 3px" title="c\d+ \d\.\d{3}', body)


def test_the_index_and_the_lexicon_of_another_model(model: SaeSplade, documents: Documents, tmp_path: Path) -> None:
    index = model.indexer(tmp_path / "index", "exact").index(documents[:5])
    other = SaeSplade.from_pretrained(model.source, k=4)
    with pytest.raises(ModelMismatchError, match=f"{index.path}.*{model.fingerprint[:8]}.*{other.fingerprint[:8]}"):
        other.explain("a", "b", index=index)
    with pytest.raises(ModelMismatchError, match=f"lexicon.*{model.fingerprint[:8]}.*{other.fingerprint[:8]}"):
        other.explain("a", "b", lexicon=Lexicon.build(model, documents[:5]))
    with pytest.raises(PathNotFoundError, match=str(tmp_path / "nowhere")):
        model.explain("a", "b", index=tmp_path / "nowhere")
