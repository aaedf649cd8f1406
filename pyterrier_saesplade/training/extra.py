"""Packages that only training needs (extra ``train``)."""

from __future__ import annotations

from pyterrier_saesplade.errors import MissingPackageError

try:
    import accelerate  # noqa: F401  # the Trainer needs it
    from datasets import Dataset, Features, Value, load_dataset, load_from_disk
    from datasets import Sequence as ListOf
    from datasets.arrow_writer import ArrowWriter
    from datasets.exceptions import DatasetsError
except ImportError as error:
    raise MissingPackageError(
        f"training needs accelerate and datasets ({error}): pip install 'pyterrier_saesplade[train]'"
    ) from error

__all__ = ["ArrowWriter", "Dataset", "DatasetsError", "Features", "ListOf", "Value", "load_dataset", "load_from_disk"]
