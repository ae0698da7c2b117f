"""The marks of a run's images, as its studio keeps them: RUN/studio/marks.json."""

from __future__ import annotations

from typing import TYPE_CHECKING

from looksharp.data.mark_names import mark_sizes
from looksharp.images.headers import ImageSizes
from looksharp.studio.mark_store import MarkStore

if TYPE_CHECKING:
    from looksharp.data.split import Data
    from looksharp.studio.workspace import Workspace

__all__ = ["marked_for_training", "run_marks"]


def run_marks(workspace: Workspace, data: Data) -> MarkStore:
    """Return the marks of a run's images: of all splits in the folder of the training images."""
    train = data.splits["train"]
    sizes = mark_sizes(train)
    if train.folder is not None:
        names = [name for split in data.splits.values() if split.folder == train.folder for name in split.names]
        sizes = ImageSizes(train.folder, names)
    return MarkStore(workspace.folder / "marks.json", sizes, data.classes)


def marked_for_training(store: MarkStore, data: Data) -> int:
    """Return the number of training images that have a mark; those of other splits are used for the proof alone.

    Raises:
        ValueError: if the file of marks is damaged.
    """
    marked, train = store.marked(), data.splits["train"]
    return len(marked if train.folder is None else marked.intersection(train.names))
