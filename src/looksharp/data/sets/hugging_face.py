"""Any image classification set that Hugging Face's `datasets` reads: `hf:NAME_OR_PATH`.

The path is a folder that `save_to_disk` wrote, a parquet file, or a folder of parquet files or of images as the
library lays them out (https://huggingface.co/docs/datasets/image_dataset). A name is one on the Hub: `datasets`
takes it from its cache, or fetches it there unless HF_HUB_OFFLINE is set. Needs `pip install looksharp[hf]`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, Any, Protocol

import torch
from torch import Tensor

from looksharp.data.registry import data_source
from looksharp.data.split import Data, Pixels, Split
from looksharp.data.splits.files import DecodedSplit

__all__ = ["read_hugging_face"]

_Label = int | str | None
_VALIDATION = ("validation", "val", "valid", "dev")


class _Table(Protocol):
    """The parts of a `datasets.Dataset` that are read here."""

    features: Mapping[str, object]

    def __getitem__(self, row_or_column: int | str) -> Any: ...


@dataclass(kw_only=True)
class _TableSplit(DecodedSplit):
    """A split whose images are cells of a table, encoded as files are."""

    table: _Table = field(repr=False)
    column: str
    rows: Sequence[int] = field(repr=False)

    def encoded(self, index: int) -> tuple[str, IO[bytes] | None]:
        """Return the image's cell.

        Raises:
            ValueError: if it is empty.
        """
        row = self.rows[index]
        cell = self.table[row][self.column]
        where = f"{self.column!r} of row {row}"
        if not isinstance(cell, dict) or not (cell.get("bytes") or cell.get("path")):
            raise ValueError(f"{where} holds no image")
        return cell.get("path") or where, BytesIO(cell["bytes"]) if cell.get("bytes") else None


@data_source("hf")
def read_hugging_face(source: str, label_column: str | None = None) -> Data:
    """Read a set whose features hold one image column and one of labels.

    The labels are a ClassLabel, a list of them (multi-label), or numbers or words whose values are the classes. Splits
    are those of the set: train, a validation split if there is one (else `val_share` of train is held out; with 0,
    validation reads the first test split), and those named test. Splits whose labels are all -1, as test splits of
    contests have them, are left out and counted.

    Args:
        source: a path, else a name of the Hub.
        label_column: column that holds the labels, where several could, as in CIFAR-100.

    Raises:
        ValueError: if `datasets` is not installed, nothing is there, or columns or labels are malformed.
    """
    tables = _tables(source)
    if "train" not in tables:
        raise ValueError(f"{source} must have a split named train; got {', '.join(tables)}")
    image, label = _columns(source, tables["train"].features, label_column)
    lookup, classes = _classes(source, tables["train"].features[label], tables["train"][label])
    splits: dict[str, Split] = {}
    notes: dict[str, int] = {}
    for name, table in tables.items():
        split = "val" if name in _VALIDATION else name
        if split not in ("train", "val") and not name.startswith("test"):
            continue
        cells = list(table[label])
        if split != "train" and all(cell == -1 for cell in cells):
            notes[f"images of split {name}, which has no labels"] = len(cells)
            continue
        targets = _targets(cells, lookup, len(classes), f"{source}, split {name}, column {label}")
        splits[split] = _TableSplit(targets=targets, table=table, column=image, rows=range(len(targets)))
    train = splits["train"]
    for place, name in enumerate(classes):
        if not ((train.targets == place) if train.targets.ndim == 1 else train.targets[:, place] > 0).any():
            raise ValueError(f"class {name!r} has no train image in {source}")
    return Data(source, classes, splits, Pixels((224, 224)), "resized_crop_flip", notes=notes)


def _tables(source: str) -> Mapping[str, _Table]:
    """Return the set's splits by name."""
    try:
        import datasets
    except ImportError:
        raise ValueError(f"data hf:{source} needs the package datasets: pip install looksharp[hf]") from None
    path = Path(source)
    try:
        if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
            found = datasets.load_from_disk(path)
        elif path.suffix == ".parquet" and path.is_file():
            found = datasets.load_dataset("parquet", data_files=source)
        else:
            found = datasets.load_dataset(source)
    except Exception as error:  # the library raises what any of its file readers and the network do
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"data hf:{source} cannot be loaded: {reason}") from None
    tables = found if isinstance(found, Mapping) else {"train": found}
    undecoded = datasets.Image(decode=False)
    return {
        str(name): table.cast(
            datasets.Features({c: undecoded if isinstance(f, datasets.Image) else f for c, f in table.features.items()})
        )
        for name, table in tables.items()
    }


def _columns(source: str, features: Mapping[str, object], label_column: str | None) -> tuple[str, str]:
    """Return the image's column and the label's."""
    from datasets import ClassLabel, Image

    images = [name for name, feature in features.items() if isinstance(feature, Image)]
    if len(images) != 1:
        raise ValueError(f"{source} must have one image column; got {', '.join(images) or 'none'} of {list(features)}")
    if label_column is not None:
        if label_column not in features or label_column in images:
            raise ValueError(f"label_column {label_column!r} is no column of labels in {source}; got {list(features)}")
        return images[0], label_column
    classes = [n for n, f in features.items() if isinstance(f, ClassLabel) or isinstance(_item(f), ClassLabel)]
    found = classes if len(classes) == 1 else [name for name in ("label", "labels") if name in features]
    if len(found) != 1:
        raise ValueError(
            f"{source} must have one column of labels; name it by label_column, one of "
            f"{', '.join(classes) or ', '.join(name for name in features if name not in images)}"
        )
    return images[0], found[0]


def _item(feature: object) -> object:
    """Return the type of a list's elements."""
    return feature[0] if isinstance(feature, list) and feature else getattr(feature, "feature", None)


def _classes(
    source: str, feature: object, cells: Iterable[_Label | list[_Label]]
) -> tuple[dict[_Label, int], tuple[str, ...]]:
    """Return the class index of each value that a label may have, and the classes' names."""
    names = getattr(_item(feature) or feature, "names", None)
    if names is not None:
        values = list(range(len(names)))
    else:
        found: set[Any] = {value for cell in cells for value in _listed(cell)}
        values = sorted(found - {None})
        names = [str(value) for value in values]
    if len(names) < 2:
        raise ValueError(f"{source} must have at least two classes; got {', '.join(names) or 'none'}")
    return {value: place for place, value in enumerate(values)}, tuple(names)


def _targets(cells: Sequence[_Label | list[_Label]], lookup: Mapping[_Label, int], classes: int, where: str) -> Tensor:
    """Return (N,) class indices, or (N, classes) multi-hot where cells are lists."""
    for row, cell in enumerate(cells):
        if any(value not in lookup for value in _listed(cell)):
            raise ValueError(f"{where}, row {row}: {cell!r} is none of the training classes")
    if not any(isinstance(cell, list) for cell in cells):
        return torch.tensor([lookup[_listed(cell)[0]] for cell in cells])
    hot = torch.zeros(len(cells), classes)
    for row, cell in enumerate(cells):
        hot[row, [lookup[value] for value in _listed(cell)]] = 1
    return hot


def _listed(cell: _Label | list[_Label]) -> list[_Label]:
    return cell if isinstance(cell, list) else [cell]
