"""The image that a mark file means, found by its path or by the end of it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

__all__ = ["ImageIndex", "original_names", "path_in", "same_split", "split_in"]

_SPLITS = re.compile(r"(train|val|valid|validation|test|dev)\d*", re.IGNORECASE)
_PREFIX = re.compile(r"^[0-9a-f]{8}-(?=.)")  # Label Studio puts it before the name of an uploaded file
_ROBOFLOW = re.compile(r"(.+)_(png|jpe?g|bmp|webp|tiff?)\.rf\.\w+(\.\w+)?", re.IGNORECASE)  # 1_png.rf.HASH.jpg


class ImageIndex:
    """Find images of a data set by how a mark file names them.

    Args:
        images: paths relative to the data folder, POSIX.
        key: turns an image's path into what mark files write for it; by default the path itself.
        references: all names of images in the mark file, for `find_any`. If one of them is a path in the data,
            the file names images as the data does, and a folder that the data lacks means another image.

    Example:
        >>> index = ImageIndex(["train/dog/1.png", "train/cat/1.png"])
        >>> index.find("dog/1.png", "a.json")
        'train/dog/1.png'
        >>> index.find_any("https://example.org/data/train/cat/1.png?size=full", "a.json")
        'train/cat/1.png'

    """

    def __init__(
        self, images: Iterable[str], key: Callable[[str], str] = str, references: Iterable[str] | None = None
    ) -> None:
        self._by_name: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        self._folders: set[str] = set()
        for image in images:
            written = key(image)
            self._by_name[written.rpartition("/")[2]].append((written, image))
            self._folders.update(PurePosixPath(written).parts[:-1])
        self._guessed: dict[str, str] = {}  # image -> the reference that was shortened to find it
        self._guesses = references is not None and not any(self._fitting(path_in(name)) for name in references)

    def find(self, reference: str, where: str) -> str | None:
        """Return the image whose key is `reference`, else the only one whose key ends in "/" + `reference`, else None.

        Raises:
            ValueError: if several images fit; the message starts with `where`.

        """
        found = self._fitting(PurePosixPath(reference.replace("\\", "/")).as_posix())  # as Windows' tools write paths
        if len(found) > 1:
            raise ValueError(
                f"{where}: {reference!r} must mean one image, but fits {len(found)}, such as {found[0]!r} and "
                f"{found[1]!r}; give the image's whole path in the data folder, or each image its own name"
            )
        return found[0] if found else None

    def find_any(self, reference: str, where: str) -> str | None:
        """Return the image of a path or URL whose first folders, query or upload prefix the data may lack.

        If `find` has no answer, the reference may end in the whole path of an image, and the prefix of an upload
        ("5f3e1a2b-1.png") and Roboflow's additions are dropped. If no reference of the file is a path in the data,
        leading folders are dropped too, except folders that the data has: those name an image of another split.

        Raises:
            ValueError: if several images fit, or two such references mean one image.

        """
        plain = path_in(reference)
        image = self.find(plain, where)
        if image is not None:
            return image
        split = split_in(PurePosixPath(plain).parts[:-1])
        for shorter in self._shortened(plain):
            found = [image for image in self._fitting(shorter) if same_split(image, split)]
            if len(found) == 1:
                known = self._guessed.setdefault(found[0], reference)
                if known != reference:
                    raise ValueError(
                        f"{where}: {reference!r} and {known!r} both seem to mean the image {found[0]}; give the "
                        f"images' paths in the data folder"
                    )
                return found[0]
        return None

    def _fitting(self, reference: str) -> list[str]:
        named = self._by_name.get(reference.rpartition("/")[2], [])
        found = [image for written, image in named if written == reference]
        return found or [image for written, image in named if written.endswith(f"/{reference}")]

    def _shortened(self, reference: str) -> Iterator[str]:
        """Yield what a reference may mean, the likeliest first."""
        *folders, name = PurePosixPath(reference).parts or ("",)
        for each in original_names(name):
            ends = ["/".join([*folders[start:], each]) for start in range(len(folders) + 1)]
            keys = {written for written, _ in self._by_name.get(each, [])}
            yield from (end for end in ends[:-1] if end in keys)  # a whole path of the data, whatever is before it
            for start, end in enumerate(ends if self._guesses else ends[:1]):
                yield end
                if start < len(folders) and folders[start] in self._folders:
                    break


def original_names(name: str) -> list[str]:
    """Return a file's name, and what it was before tools added to it: a prefix by Label Studio, a hash by Roboflow.

    Example:
        >>> original_names("5f3e1a2b-1.png"), original_names("1_png.rf.0a1b2c.jpg")
        (['5f3e1a2b-1.png', '1.png'], ['1_png.rf.0a1b2c.jpg', '1.png'])

    """
    match = _ROBOFLOW.fullmatch(name)
    roboflow = [f"{match[1]}.{match[2]}" if match[3] else match[1]] if match else []
    return list(dict.fromkeys([name, _PREFIX.sub("", name, count=1), *roboflow]))


def path_in(reference: str) -> str:
    r"""Return the POSIX path in a reference to an image: a path of any system or a URL.

    Example:
        >>> path_in("s3://bucket/photos/a%20b.png"), path_in("/data/local-files/?d=photos/1.png")
        ('photos/a b.png', 'photos/1.png')
        >>> path_in("C:\\photos\\1.png")
        'photos/1.png'

    """
    text = reference.replace("\\", "/")
    if re.match(r"[a-zA-Z][\w+.-]+://", text) or "?d=" in text:
        try:
            parts = urlsplit(text)
            named = parse_qs(parts.query).get("d")
        except ValueError:  # such as http://[
            return text
        text = unquote(named[0] if named else parts.path)
    text = re.sub(r"^[a-zA-Z]:", "", text).lstrip("/")
    return PurePosixPath(re.sub(r"^data/upload/(\d+/)?", "", text)).as_posix()


def split_in(folders: Iterable[str]) -> str | None:
    """Return what the first folder that names a split calls it, such as "train" or "val"; None if there is none."""
    found = next((match for match in map(_SPLITS.fullmatch, folders) if match), None)
    return None if found is None else found[1].lower()[:3]


def same_split(image: str, split: str | None) -> bool:
    """Return whether an image's path does not contradict the split that a reference to it names."""
    return split is None or split_in(PurePosixPath(image).parts[:-1]) in (None, split)
