"""What the browser tests take from the command line."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", help="Folder to keep the screenshots in, to look at them.")
