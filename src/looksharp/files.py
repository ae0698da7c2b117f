"""Files that are either whole or not there, and folders that one process writes at a time."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

if sys.platform != "win32":
    import fcntl

__all__ = ["locked", "read_mapping", "read_text", "remove_leftovers", "replacing", "was_killed", "write_text"]

_PART = ".part-"
"""Part of every temporary file's name, by which leftovers of a killed process are known."""
_LEFT = f".*{_PART}*"
_LOCK = ".lock"

_TIDIED: set[Path] = set()  # looking into a folder at every write would be slow where it holds many files


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder, and move it to `path` when the `with` ends without an exception.

    The file's bytes are on the disk before it is moved: at every moment `path` is the whole old or the whole new file.
    The first time that a process writes into a folder, it removes what a killed one left half-written there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.parent.absolute()
    if folder not in _TIDIED:
        _TIDIED.add(folder)
        _remove(folder.glob(_LEFT))
    with _temporary(path) as temporary:
        try:
            yield temporary
            temporary.chmod(0o644)
            _sync(temporary)
            temporary.replace(path)
            _sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a whole file at once."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_text(path: Path) -> str:
    """Read a file as UTF-8 text.

    Raises:
        ValueError: if it is not text; the message names the file.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None


def read_mapping(path: Path, what: str) -> dict[str, Any]:
    """Read a YAML file that holds names and values.

    Args:
        path: the file.
        what: the expected content, for messages, such as "a run's settings".

    Raises:
        ValueError: if it is not YAML or holds something else; the message names the file.
    """
    try:
        values = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split()):.200}") from None
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ValueError(f"{path} must hold {what}, name: value; got {values!r:.60}")
    return values


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder while it is written, and first remove what a killed one left half-written.

    The system releases the lock when the process ends, however it ends. A folder that did not exist and in which
    nothing was written is removed again.

    Raises:
        ValueError: if another process writes the folder.
    """
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise ValueError(f"another process is writing {folder}; wait for it, or choose another folder") from None
    try:
        remove_leftovers(folder)
        yield
    finally:
        with suppress(OSError):  # in use, as Windows sees it
            (folder / _LOCK).unlink(missing_ok=True)
        lock.release()
        if made:
            with suppress(OSError):  # it holds something
                folder.rmdir()


def was_killed(folder: Path) -> bool:
    """Return whether the process that wrote a folder (see `locked`) was killed; False if it ended otherwise."""
    try:
        return _abandoned(folder / _LOCK)
    except OSError:  # there is none
        return False


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files and locks below a folder whose process was killed."""
    _remove([*folder.rglob(_LEFT), *folder.rglob(_LOCK)])


def _remove(parts: Iterable[Path]) -> None:
    for left in parts:
        with suppress(OSError):  # it has just been moved
            if _abandoned(left):
                left.unlink()


if sys.platform == "win32":  # an open file cannot be moved there, so none is locked, and none counts as abandoned

    @contextmanager
    def _temporary(path: Path) -> Iterator[Path]:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}{_PART}", suffix=path.suffix)
        os.close(handle)
        yield Path(name)

    def _abandoned(path: Path) -> bool:
        return False

else:

    @contextmanager
    def _temporary(path: Path) -> Iterator[Path]:
        """Make a temporary file, locked for as long as its process lives."""
        while True:
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}{_PART}", suffix=path.suffix)
            try:
                with suppress(OSError):  # a file system without locks
                    fcntl.flock(handle, fcntl.LOCK_EX)
                if Path(name).exists():  # and was not taken for a leftover before it was locked
                    yield Path(name)
                    return
            finally:
                os.close(handle)

    def _abandoned(path: Path) -> bool:
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:  # somebody has it, or the file system knows no locks
                return False
        return True


def _sync(path: Path) -> None:
    """Wait until a file's or folder's bytes are on the disk."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:  # a folder, on Windows
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
