"""Suites: several collections that are evaluated as one, with the measures and lengths that belong to them."""

from pyterrier_saesplade.evaluation.suites.definition import Suite, SuiteSet, open_suite, suite_names
from pyterrier_saesplade.evaluation.suites.run import SuiteResults, evaluate_suite

__all__ = ["Suite", "SuiteResults", "SuiteSet", "evaluate_suite", "open_suite", "suite_names"]
