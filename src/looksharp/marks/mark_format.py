"""The formats in which marks are kept, each registered in the file where it is written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from looksharp.marks.union import MaskUnion
from looksharp.registry import Registry

__all__ = ["MARK_FORMATS", "MarkFormat"]


class MarkFormat(ABC):
    """A format of marks: recognises the paths that have it, and reads them.

    Attributes:
        takes: the paths it reads, in a few words for messages and help, such as "a COCO .json file".
        fallback: True if it is tried after all others, because it recognises its files less certainly.
    """

    takes: ClassVar[str]
    fallback: ClassVar[bool] = False

    @abstractmethod
    def matches(self, path: Path) -> bool:
        """Return True if a file or folder has this format; look at names and a few files alone.

        Args:
            path: a file or folder that exists.
        """

    @abstractmethod
    def read(self, path: Path, union: MaskUnion) -> None:
        """Add the marks of a file or folder to `union`.

        Raises:
            ValueError: if the content is damaged or does not fit its image; in one line that names the file, the
                mark and the mend.
        """


MARK_FORMATS: Registry[type[MarkFormat]] = Registry("format of marks", "looksharp.marks.formats")
"""Every format of marks by name, plugins' included."""
