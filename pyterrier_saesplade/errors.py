"""Every exception that a user may want to catch.

The tree::

    SaespladeError
    ├── SettingError (ValueError)             a setting, an option or a name that is not accepted
    ├── DataError (ValueError)                documents, queries, qrels, files or vectors that cannot be used
    ├── ModelError (ValueError)               a model that cannot be used, or is of another kind
    │   └── ModelMismatchError                queries, vectors or an index that belong to another model
    ├── AlreadyQuantizedError (ValueError)    integers that would be scaled a second time
    ├── CollapsedError (ValueError)           a training whose model no longer retrieves
    ├── PathExistsError (FileExistsError)     an output that exists, and may not be replaced
    ├── PathNotFoundError (FileNotFoundError) an input that is missing
    ├── MissingPackageError (ImportError)     an optional dependency that is not installed
    └── EngineError (RuntimeError)            a search engine or a training that failed
        └── JavaNotFoundError                 no suitable Java on this machine

Each is also the built-in exception named in brackets. The commands print a :class:`SaespladeError` in one line. Any
other exception is a bug, and they show its traceback.
"""

from __future__ import annotations


class SaespladeError(Exception):
    """The base class: something that the user can mend. The message names what is wrong and what to do."""


class SettingError(SaespladeError, ValueError):
    """A setting, an option or a name that is not accepted."""


class DataError(SaespladeError, ValueError):
    """Documents, queries, qrels, files or vectors that cannot be used; the message names the file or the identifier."""


class ModelError(SaespladeError, ValueError):
    """A model that cannot be used, or is of another kind."""


class ModelMismatchError(ModelError):
    """Queries, vectors or an index that belong to another model."""


class AlreadyQuantizedError(SaespladeError, ValueError):
    """Weights that would be quantised are integers already."""

    def __init__(
        self,
        message: str = "these weights are integers already: quantising them again would scale them twice, and scores "
        "would grow by the square of the scale. Give floats (an encoder with scale=None), or leave this quantiser out.",
    ) -> None:
        super().__init__(message)


class CollapsedError(SaespladeError, ValueError):
    """A training whose model no longer retrieves: its vectors are empty, dense or not finite."""


class PathExistsError(SaespladeError, FileExistsError):
    """An output that exists, and may not be replaced."""


class PathNotFoundError(SaespladeError, FileNotFoundError):
    """An input that is missing."""


class MissingPackageError(SaespladeError, ImportError):
    """An optional dependency that is not installed; the message names the command that installs it."""


class EngineError(SaespladeError, RuntimeError):
    """A search engine failed or lost documents, for example because memory or disk space ran out."""


class JavaNotFoundError(EngineError):
    """No suitable Java on this machine; the message lists what was found and what to install."""
