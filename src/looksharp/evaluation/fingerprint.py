"""What makes an evaluation another one: the images, their labels and masks, and the weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from looksharp.data.split import Pixels, Split
from looksharp.data.splits.files import FileSplit
from looksharp.data.splits.tensors import TensorSplit

__all__ = ["file_fingerprint", "split_fingerprint"]

_SAMPLED = 64  # images of a split of another kind whose pixels are read


def file_fingerprint(path: Path) -> str:
    """Equal for files of the same content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def split_fingerprint(split: Split, pixels: Pixels) -> str:
    """Equal for splits of the same images in the same order, with the same targets, masks and groups.

    Image files count as the same while their paths, sizes and times of change are.
    """
    digest = hashlib.sha256(repr(pixels).encode())
    for part in _parts(split):
        digest.update(part)
    return digest.hexdigest()


def _parts(split: Split) -> Iterator[bytes]:
    yield from _bytes([split.targets])
    if split.groups is not None:
        yield from (b"groups", *_bytes([split.groups]))
    if split.marks is not None:
        yield repr((split.marks.samples, split.marks.labels)).encode()
        yield from _bytes(split.marks.masks)
    if isinstance(split, TensorSplit):
        yield from _bytes([split.images])
    elif isinstance(split, FileSplit):
        for name in split.paths:
            yield name.encode()
            with suppress(OSError):  # a missing file is reported when it is read
                found = (split.root / name).stat()
                yield f"{found.st_size} {found.st_mtime_ns}".encode()
    else:
        places = torch.linspace(0, len(split) - 1, min(_SAMPLED, len(split))).long().tolist()
        yield from _bytes(split.image(place).as_subclass(Tensor) for place in places)


def _bytes(tensors: Iterable[Tensor]) -> Iterator[bytes]:
    for tensor in tensors:
        yield f"{tuple(tensor.shape)} {tensor.dtype}".encode()
        yield tensor.detach().cpu().contiguous().numpy().tobytes()
