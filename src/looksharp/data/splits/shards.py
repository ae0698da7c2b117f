"""Tar files of samples in WebDataset's form, for data past one disk: `wds:shards/train-{0000..0009}.tar`.

A shard is a tar file in which the files of a sample follow each other under one name: 000123.jpg (or .png, .jpeg,
.webp) with 000123.cls, the class's number as text. Braces stand for ranges; a shard is a path, or a URL that
`webdataset` opens (https://, s3://, gs://, pipe:). Beside the first shard there may lie

    sizes.json     {"train-0000.tar": 1000, ...}: samples of each shard; needed for URLs, counted otherwise
    classes.txt    the classes' names in order, a line each; numbers otherwise

Needs `pip install looksharp[wds]`.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import IO, Any

__all__ = ["Sample", "class_names", "expand", "read_shard", "shard_sizes", "stored_samples"]

_IMAGES = ("jpg", "jpeg", "png", "webp")
_MOST_SHARDS = 100_000
_DAMAGED = (OSError, ValueError, EOFError, tarfile.TarError)


@dataclass(frozen=True)
class Sample:
    """An image in a shard.

    Attributes:
        where: shard and name, for messages.
        label: its class.
        content: the encoded image, or its offset and length in the file `shard`.
        shard: the file that holds the content, if it is not read yet.
    """

    where: str
    label: int
    content: bytes | tuple[int, int]
    shard: str = ""

    def open(self) -> IO[bytes]:
        """Return the encoded image, to be decoded."""
        if isinstance(self.content, bytes):
            return BytesIO(self.content)
        start, length = self.content
        with Path(self.shard).open("rb") as file:
            file.seek(start)
            return BytesIO(file.read(length))


def expand(pattern: str) -> list[str]:
    """Return the shards that a pattern with braces names, in order.

    Raises:
        ValueError: if `webdataset` is not installed, or a shard that is a path does not exist.
    """
    try:
        from webdataset.shardlists import expand_urls
    except ImportError:
        raise ValueError(f"data wds:{pattern} needs the package webdataset: pip install looksharp[wds]") from None
    if (count := _count(pattern)) > _MOST_SHARDS:
        raise ValueError(f"wds:{pattern} names {count:,} shards; there may be {_MOST_SHARDS:,}")
    shards = [str(shard) for shard in expand_urls(pattern)]
    missing = [shard for shard in shards if _is_path(shard) and not Path(shard).is_file()]
    if missing:
        others = f", nor do {len(missing) - 1} others of {len(shards)}" if len(missing) > 1 else ""
        raise ValueError(f"shard {missing[0]} does not exist{others}")
    return shards


def _count(pattern: str) -> int:
    """Return how many shards a pattern names at most, without making their names."""
    count = 1
    for part in re.findall(r"\{([^{}]*)\}", pattern):
        first, dots, rest = part.partition("..")
        last = rest.partition("..")[0]
        if dots and first.lstrip("-").isdecimal() and last.lstrip("-").isdecimal():
            count *= abs(int(last) - int(first)) + 1
        else:
            count *= part.count(",") + 1
    return count


def read_shard(shard: str) -> Iterator[Sample]:
    """Yield the samples of a shard in order, read as a stream.

    Raises:
        ValueError: if the shard cannot be read, or a sample lacks its image or class.
    """
    for found in _streamed(shard):
        suffix = _image_of(shard, found)
        yield Sample(_where(shard, found), _label(shard, found, found.get("cls", b"")), found[suffix])


def stored_samples(shard: str) -> list[Sample]:
    """Return the samples of a shard in order: places in the file, or the images themselves for a URL or packed file.

    Raises:
        ValueError: as `read_shard` does.
    """
    if not _is_path(shard) or not shard.endswith(".tar"):
        return list(read_shard(shard))
    from webdataset.tariterators import base_plus_ext

    samples = []
    try:
        with tarfile.open(shard, "r:") as archive:
            files = (member for member in archive if member.isfile() and base_plus_ext(member.name)[0] is not None)
            for key, members in groupby(files, lambda member: base_plus_ext(member.name)[0]):
                found: dict[str, Any] = {"__key__": key}
                for member in members:
                    suffix = base_plus_ext(member.name)[1].lower()
                    content = archive.extractfile(member) if suffix == "cls" else None
                    found[suffix] = content.read() if content is not None else (member.offset_data, member.size)
                samples.append(found)
    except _DAMAGED as error:
        raise ValueError(f"shard {shard} cannot be read: {_reason(error)}") from None
    return [
        Sample(_where(shard, found), _label(shard, found, found.get("cls", b"")), found[_image_of(shard, found)], shard)
        for found in samples
    ]


def shard_sizes(shards: Sequence[str]) -> list[int] | None:
    """Read the number of samples of each shard from sizes.json beside the first.

    It is None where there is no such file and all shards are files.

    Raises:
        ValueError: if sizes.json lacks a shard, or is missing for shards that are no files.
    """
    content = _beside(shards[0], "sizes.json")
    if content is None:
        remote = next((shard for shard in shards if not _is_path(shard)), None)
        if remote is not None:
            raise ValueError(f"sizes.json must lie beside {remote}, with the number of samples of each shard")
        return None
    try:
        table = json.loads(content)
        sizes = [int(table[shard.rpartition("/")[2]]) for shard in shards]
        if min(sizes) < 0:
            raise ValueError(f"got {min(sizes)}")
        return sizes
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError) as error:
        raise ValueError(
            f"sizes.json beside {shards[0]} must give the number of samples of every shard by its name; "
            f"{type(error).__name__}: {error}"
        ) from None


def class_names(shards: Sequence[str]) -> tuple[str, ...] | None:
    """Return the lines of classes.txt beside the first shard; None if there is no such file."""
    content = _beside(shards[0], "classes.txt")
    if content is None:
        return None
    try:
        return tuple(line.strip() for line in content.decode("utf-8-sig").splitlines() if line.strip())
    except UnicodeDecodeError:
        raise ValueError(f"classes.txt beside {shards[0]} is not text in UTF-8; save it as UTF-8") from None


def _is_path(shard: str) -> bool:
    return "://" not in shard and not shard.startswith("pipe:")


def _opened(shard: str) -> IO[bytes]:
    if _is_path(shard):
        return Path(shard).open("rb")
    from webdataset.gopen import gopen

    return gopen(shard)


def _beside(shard: str, name: str) -> bytes | None:
    """Return the content of a file beside a shard; None if there is none."""
    if _is_path(shard):
        path = Path(shard).with_name(name)
        return path.read_bytes() if path.is_file() else None
    if shard.startswith("pipe:"):
        return None
    try:
        with _opened(f"{shard.rpartition('/')[0]}/{name}") as stream:
            return stream.read() or None
    except OSError:
        return None


def _streamed(shard: str) -> Iterator[dict[str, Any]]:
    """Yield the files of each sample by their suffixes, and its name as "__key__"."""
    from webdataset.tariterators import group_by_keys, tar_file_expander

    try:
        with _opened(shard) as stream:
            yield from group_by_keys(tar_file_expander([{"url": shard, "stream": stream}]))
    except _DAMAGED as error:
        raise ValueError(f"shard {shard} cannot be read: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """Return the first line of an error; `webdataset` appends what it was reading to the arguments."""
    words = (part for part in error.args if isinstance(part, str) and part)
    return next(words, type(error).__name__).splitlines()[0]


def _where(shard: str, found: Mapping[str, object]) -> str:
    return f"sample {found['__key__']} of {shard}"


def _image_of(shard: str, found: Mapping[str, object]) -> str:
    """Return the suffix of a sample's image."""
    suffix = next((suffix for suffix in _IMAGES if suffix in found), None)
    if suffix is None:
        got = ", ".join(f".{name}" for name in found if not name.startswith("__"))
        raise ValueError(f"{_where(shard, found)} has no image: expected .{', .'.join(_IMAGES)}; got {got}")
    return suffix


def _label(shard: str, found: Mapping[str, object], text: bytes) -> int:
    if not text.strip().isdigit():
        raise ValueError(
            f"{_where(shard, found)} must have its class's number in .cls; got {text.decode(errors='replace')!r}"
        )
    return int(text)
