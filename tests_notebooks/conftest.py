"""The option that writes the outputs into the notebooks."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write", action="store_true", help="write the outputs into the notebooks")
