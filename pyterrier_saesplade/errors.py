"""Every exception that a user may want to catch.

The tree::

    SaespladeError
    ├── SettingError (ValueError)             an invalid argument, option or name
    ├── DataError (ValueError)                documents, queries, qrels, files or vectors that cannot be used
    ├── ModelError (ValueError)               a model that is broken, or of the wrong kind
    │   └── ModelMismatchError                queries, vectors or an index made with another model
    ├── AlreadyQuantizedError (ValueError)    weights that have already been quantised
    ├── CollapsedError (ValueError)           a training run whose model no longer retrieves
    ├── PathExistsError (FileExistsError)     an output that already exists
    ├── PathNotFoundError (FileNotFoundError) a missing input
    ├── MissingPackageError (ImportError)     a missing optional dependency
    └── EngineError (RuntimeError)            a failure of a search engine or of training
        └── JavaNotFoundError                 no suitable Java on this machine

Each class also inherits from the built-in exception in brackets. The commands report a :class:`SaespladeError` in one
line. Any other exception is a bug and is shown with its traceback.
"""

from __future__ import annotations


class SaespladeError(Exception):
    """The base class of errors that the user can fix. The message says what is wrong and what to do."""


class SettingError(SaespladeError, ValueError):
    """An invalid argument, option or name."""


class DataError(SaespladeError, ValueError):
    """Documents, queries, qrels, files or vectors that cannot be used. The message names the file or the identifier."""


class ModelError(SaespladeError, ValueError):
    """A model that is broken, or of the wrong kind."""


class ModelMismatchError(ModelError):
    """Queries, vectors or an index made with another model."""


class AlreadyQuantizedError(SaespladeError, ValueError):
    """Weights to be quantised that are already integers."""

    def __init__(
        self,
        message: str = "these weights are already integers, and quantising them again would scale them twice: pass "
        "floats (from an encoder with scale=None), or remove this quantiser",
    ) -> None:
        super().__init__(message)


class CollapsedError(SaespladeError, ValueError):
    """A training run whose model no longer retrieves: its vectors are empty, dense or not finite."""


class PathExistsError(SaespladeError, FileExistsError):
    """An output that already exists and must not be overwritten."""


class PathNotFoundError(SaespladeError, FileNotFoundError):
    """A missing input."""


class MissingPackageError(SaespladeError, ImportError):
    """An optional dependency that is not installed. The message gives the command that installs it."""


class EngineError(SaespladeError, RuntimeError):
    """A failure of a search engine or of training, for example because memory or disk space ran out."""


class JavaNotFoundError(EngineError):
    """No suitable Java on this machine. The message lists what was found and what to install."""
