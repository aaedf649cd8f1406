"""Comparisons of systems: running them, their results, significance, costs, suites and reports."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
