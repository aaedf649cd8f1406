"""Suites: several collections that are evaluated together, each with its measures and lengths.

``suiteeval`` is a related package, which runs PyTerrier pipelines on suites such as BEIR. Suites here call
:func:`~pyterrier_saesplade.evaluate` for each set instead: an interrupted suite resumes, each set has its own maximum
lengths, and differences are tested for significance.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
