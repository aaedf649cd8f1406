"""The site that ``make docs`` builds: pt_docs, the API reference, the notebooks, and the files for developers.

PyTerrier's own documentation includes pt_docs too. Its directives are not in its wheel, so ``pyterrier_directives.py``
replaces them here.
"""

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports huggingface_hub
sys.path.insert(0, str(Path(__file__).parent))  # where the extensions are

from ipython_pygments_lexers import IPython3Lexer
from sphinx.application import Sphinx

import pyterrier_saesplade

HERE = Path(__file__).parent
REPOSITORY = HERE.parent

# Sphinx only reads pages below its own folder. Copies keep their times, so only what changed is built again.
for source, copy in (("pyterrier_saesplade/pt_docs", "pages"), ("examples", "notebooks")):
    shutil.rmtree(HERE / copy, ignore_errors=True)
    shutil.copytree(REPOSITORY / source, HERE / copy, ignore=shutil.ignore_patterns("paper", "*.yaml"))
# Files of the repository's root link to the pages where these are in the repository.
for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
    text = (REPOSITORY / name).read_text("utf-8").replace("(pyterrier_saesplade/pt_docs/", "(pages/")
    (HERE / name.lower()).write_text(text.replace("(CHANGELOG.md)", "(changelog.md)"), encoding="utf-8")

project = "pyterrier_saesplade"
author = "The pyterrier_saesplade developers"
project_copyright = author
release = pyterrier_saesplade.__version__

extensions = ["sphinx.ext.autodoc", "myst_nb", "docstrings", "pyterrier_directives"]
exclude_patterns = ["_build"]

# The Makefile makes warnings errors. Every class, function and module that is named must exist: see docstrings.py.
nitpicky = True
# Types of search engines that are imported for the type checker only, so no module has them when Sphinx reads it.
nitpick_ignore = [("py:class", name) for name in ("MilvusClient", "PisaIndex", "Searcher", "SeismicIndex")]

autodoc_preserve_defaults = True  # as they are in the source
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autoclass_content = "class"
python_maximum_signature_line_length = 88

nb_execution_mode = "off"  # notebooks are committed with their outputs
myst_heading_anchors = 3

# A SPLADE checkpoint from a package is drawn instead of the one on the hub that the pages name.
schematic_models = {
    "naver/splade-cocondenser-ensembledistil": Path(str(find_spec("cognition").origin)).parent / "model",
}

html_theme = "furo"
html_title = f"SAE-SPLADE {release}"
html_copy_source = False

# For `make linkcheck`: DBLP and the hub refuse requests that come too fast.
linkcheck_timeout = 30
linkcheck_retries = 2


def setup(app: Sphinx) -> None:
    """Highlights code as IPython's, because notebooks contain its magic commands."""
    app.add_lexer("python", IPython3Lexer)
