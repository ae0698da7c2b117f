"""The image that an annotation means, found by its path or by the end of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath

__all__ = ["ImageIndex"]


class ImageIndex:
    """Finds images of a data set by what an annotation file calls them.

    Args:
        images: paths relative to the data folder, POSIX.
        key: what annotations write for an image, from its path: by default the path itself.

    Example:
        >>> index = ImageIndex(["train/dog/1.png", "train/cat/1.png"])
        >>> index.find("dog/1.png", "a.json")
        'train/dog/1.png'

    """

    def __init__(self, images: Iterable[str], key: Callable[[str], str] = str) -> None:
        self._by_name: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        for image in images:
            written = key(image)
            self._by_name[written.rpartition("/")[2]].append((written, image))

    def find(self, reference: str, where: str) -> str | None:
        """The image whose key is `reference`, else the only one whose key ends in "/" + `reference`, else None.

        Raises:
            ValueError: if several images fit; the message starts with `where`.

        """
        reference = PurePosixPath(reference.replace("\\", "/")).as_posix()  # as Windows' tools write paths
        named = self._by_name.get(reference.rpartition("/")[2], [])
        found = [image for written, image in named if written == reference]
        found = found or [image for written, image in named if written.endswith(f"/{reference}")]
        if len(found) > 1:
            raise ValueError(
                f"{where}: {reference!r} must mean one image, but fits {len(found)}, such as {found[0]!r} and "
                f"{found[1]!r}; give the image's whole path in the data folder, or each image its own name"
            )
        return found[0] if found else None
