"""Concept vectors in Anserini and Pyserini. Does not import PyTerrier.

Commands, each with ``--help``::

    python -m pyserini_bridge.index  --model M --collection C --index INDEX
    python -m pyserini_bridge.search --index INDEX --topics queries.tsv --encoder sae:M --output run.trec --hits 1000
    python -m pyserini_bridge.encode input --corpus CORPUS output --embeddings OUT encoder --encoder sae:M

In Python, :class:`pyserini_bridge.encoders.SaeQueryEncoder` is a query encoder for ``LuceneImpactSearcher``, and
:func:`pyterrier_saesplade.formats.anserini.export_vectors` writes files that Pyserini's own commands index and search.
"""
