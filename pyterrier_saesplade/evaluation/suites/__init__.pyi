from .definition import Suite as Suite
from .definition import SuiteSet as SuiteSet
from .definition import open_suite as open_suite
from .definition import suite_names as suite_names
from .run import SuiteResults as SuiteResults
from .run import evaluate_suite as evaluate_suite
