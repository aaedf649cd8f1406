"""``pyserini.encode`` with our models as document encoders: ``python -m pyserini_bridge.encode``.

It holds the whole corpus in memory and writes one file, which Anserini indexes with one thread. ``saesplade encode``
and ``saesplade export`` do neither.
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
    """Runs Pyserini's command on this one's arguments; ``--encoder sae:MODEL`` names one of our models."""
    with reported("python -m pyserini_bridge.encode"):
        if any(argument.split("=")[0] == "--max-length" for argument in sys.argv):
            raise SettingError(f"--max-length is not for {SCHEME} models, which have a length of their own")
        compat.prepare()
    import pyserini.encode

    classes = pyserini.encode.document_encoder_class_map
    known = dict(classes)
    classes.clear()
    # Pyserini takes the first class whose key is in the encoder's name, and models have names like "splade".
    classes.update({SCHEME: SaeDocumentEncoder, **known})
    runpy.run_module(_PYSERINI, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
