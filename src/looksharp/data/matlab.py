"""Variables of a MATLAB file, as the annotations of older data sets are published."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from scipy.io import loadmat
from scipy.io.matlab import MatReadError

__all__ = ["read_mat"]

# scipy's NotImplementedError: a file of MATLAB 7.3, which is HDF5, or one whose damaged header says so.
_DAMAGED = (MatReadError, OSError, EOFError, LookupError, ValueError, TypeError, NotImplementedError, zlib.error)


def read_mat(path: Path, names: Sequence[str], file: IO[bytes] | None = None) -> list[Any]:
    """Return the named variables, without dimensions of one; a struct has fields by name.

    Args:
        path: the file.
        names: the variables.
        file: its content, if it is open already; `path` is then for messages.

    Raises:
        ValueError: if the file is missing, damaged or lacks a variable.
    """
    if file is None and not path.is_file():
        raise ValueError(f"{path} does not exist")
    try:
        content = loadmat(file or path, squeeze_me=True, variable_names=names)
    except _DAMAGED as error:
        reason = (str(error).splitlines() or ["it is damaged"])[0]
        raise ValueError(f"{path} cannot be read as a MATLAB file: {reason}") from None
    missing = next((name for name in names if name not in content), None)
    if missing is not None:
        raise ValueError(f"{path} must have the variable {missing!r}")
    return [content[name] for name in names]
