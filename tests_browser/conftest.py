"""The command-line option of the browser tests."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", help="Folder where the screenshots are kept.")
