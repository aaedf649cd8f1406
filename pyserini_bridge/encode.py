"""Runs ``pyserini.encode`` with models of this package: ``python -m pyserini_bridge.encode``.

Pyserini holds the whole corpus in memory and writes a single file, which Anserini indexes in one thread. ``saesplade
encode`` and ``saesplade export`` have neither limitation.
"""

from __future__ import annotations

import runpy
import sys

from pyserini_bridge import compat
from pyserini_bridge.encoders import SCHEME, SaeDocumentEncoder
from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.mistakes import reported

_PYSERINI = "pyserini.encode"


def main() -> None:
    """Runs Pyserini's command with the arguments of this command. ``--encoder sae:MODEL`` selects a model."""
    with reported("python -m pyserini_bridge.encode"):
        if any(argument.split("=")[0] == "--max-length" for argument in sys.argv):
            raise SettingError(f"--max-length does not apply to {SCHEME} models, which have their own length")
        compat.prepare()
    import pyserini.encode

    classes = pyserini.encode.document_encoder_class_map
    known = dict(classes)
    classes.clear()
    # Pyserini takes the first class whose key occurs in the name of the encoder, and model names may contain "splade".
    classes.update({SCHEME: SaeDocumentEncoder, **known})
    runpy.run_module(_PYSERINI, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
