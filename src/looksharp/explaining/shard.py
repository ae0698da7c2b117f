"""Maps in Parquet files: a row per image and map, in half precision.

Columns: "index" (place of the image), "image" (its name), "class" and "label" (its number), "probability", "layer",
"head" (see `Rows`; null for a class's map), "height", "width", "peak" and "map". The map is a list of height x width
values, row by row, divided by its largest magnitude, "peak": in [0, 1], or in [-1, 1] where it is signed, exact to
0.05% of the peak.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from looksharp.explaining.batches import Rows
from looksharp.files import replacing

__all__ = ["ShardWriter", "StoredMap", "left_out", "new_shard", "read_maps"]

_GROUP = 1 << 24  # bytes of maps that are held before they are written
_LEFT_OUT = "looksharp.left_out"


def _arrow() -> Any:
    """Load pyarrow with its Parquet part.

    Raises:
        ValueError: if it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ValueError("maps of many images need the package pyarrow: pip install looksharp[parquet]") from None
    return pyarrow


@dataclass(frozen=True, eq=False)
class StoredMap:
    """One row of a shard.

    Attributes:
        index: place of the image.
        image: its name.
        name: the class.
        probability: of the class.
        layer: the layer that was read, or "image".
        head: see `Rows`; None for a class's map.
        map: (h, w) float32, raw.
    """

    index: int
    image: str
    name: str
    probability: float
    layer: str
    head: int | None
    map: np.ndarray


class ShardWriter:
    """Write the maps of a shard, batch by batch; at most 16 MiB of them are held.

    Args:
        path: the file.
        classes: class names.
    """

    def __init__(self, path: Path, classes: Sequence[str]) -> None:
        self.arrow = _arrow()
        self.names = self.arrow.array(list(classes), self.arrow.string())
        self.file = self.arrow.parquet.ParquetWriter(path, self._schema(), compression="zstd")
        self.held: list[Any] = []
        self.bytes = 0
        self.left_out: list[str] = []

    def _schema(self) -> Any:
        pa = self.arrow
        return pa.schema(
            {
                "index": pa.int64(),
                "image": pa.string(),
                "class": pa.string(),
                "label": pa.int32(),
                "probability": pa.float32(),
                "layer": pa.string(),
                "head": pa.int16(),
                "height": pa.int32(),
                "width": pa.int32(),
                "peak": pa.float32(),
                "map": pa.list_(pa.float16()),
            }
        )

    def add(self, rows: Rows, places: Tensor, images: Sequence[str]) -> None:
        """Add a batch's maps.

        Args:
            rows: the maps.
            places: (B,) places of the batch's images.
            images: their names.
        """
        pa, (count, height, width) = self.arrow, rows.maps.shape
        peak = rows.maps.abs().amax((1, 2)) if count else rows.probability
        scaled = rows.maps / peak.where(peak > 0, 1.0)[:, None, None]
        offsets = np.arange(0, (count + 1) * height * width, height * width, dtype=np.int32)
        labels = pa.array(rows.label.numpy(), pa.int32())
        columns = [
            pa.array(places[rows.image].numpy()),
            pa.array(images, pa.string()).take(pa.array(rows.image.numpy())),
            self.names.take(labels),
            labels,
            pa.array(rows.probability.float().numpy()),
            pa.array([rows.layer] * count, pa.string()),
            pa.array(rows.head.numpy(), pa.int16(), mask=(rows.head < 0).numpy()),
            pa.array([height] * count, pa.int32()),
            pa.array([width] * count, pa.int32()),
            pa.array(peak.numpy()),
            pa.ListArray.from_arrays(offsets, pa.array(scaled.half().numpy().reshape(-1))),
        ]
        self.held.append(pa.RecordBatch.from_arrays(columns, schema=self.file.schema))
        self.bytes += 2 * scaled.numel()
        if self.bytes >= _GROUP:
            self._write()

    def _write(self) -> None:
        if self.held:
            self.file.write_table(self.arrow.Table.from_batches(self.held))
        self.held, self.bytes = [], 0

    def close(self) -> None:
        """Write what is held, and the end of the file."""
        self._write()
        self.file.add_key_value_metadata({_LEFT_OUT: json.dumps(self.left_out)})
        self.file.close()


@contextmanager
def new_shard(path: Path, classes: Sequence[str]) -> Iterator[ShardWriter]:
    """Yield a writer of a file that is there, whole, once the `with` ends without an exception."""
    with replacing(path) as temporary:
        writer = ShardWriter(temporary, classes)
        try:
            yield writer
        except BaseException:
            writer.file.close()
            raise
        writer.close()


def left_out(path: Path) -> list[str]:
    """Return the names of a shard's images that could not be read."""
    found = _arrow().parquet.read_metadata(path).metadata or {}
    return list(json.loads(found.get(_LEFT_OUT.encode(), b"[]")))


def read_maps(folder: str | Path, places: Collection[int] | None = None) -> Iterator[StoredMap]:
    """Yield the maps that `explain_many` wrote into a folder, in the order of their images; one file at a time is read.

    Args:
        folder: the folder.
        places: places of the images to read; all if not given.

    Raises:
        ValueError: if the folder holds no maps, or pyarrow is not installed.
    """
    arrow, files = _arrow(), sorted(Path(folder).glob("maps-*.parquet"))
    if not files:
        raise ValueError(f"{folder} holds no maps of many images: no file is called maps-*.parquet")
    chosen = None if places is None else [("index", "in", sorted(places))]
    for file in files:
        if chosen is not None and not chosen[0][2]:
            continue
        for batch in arrow.parquet.read_table(file, filters=chosen).to_batches():
            for row in batch.to_pylist():
                values = np.array(row["map"], np.float32).reshape(row["height"], row["width"]) * row["peak"]
                yield StoredMap(
                    row["index"], row["image"], row["class"], row["probability"], row["layer"], row["head"], values
                )
