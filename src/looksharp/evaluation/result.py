"""Results of measuring a split, and their files."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from looksharp.evaluation.tables import Tables, joined, read_tables
from looksharp.files import write_text
from looksharp.metrics.catalogue import in_order
from looksharp.training.state import write_tensors

__all__ = ["Evaluation", "merge", "read_evaluation", "write_evaluation"]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Results of measuring a split.

    Attributes:
        values: metric -> its value over the split; undefined ones are left out.
        per_image: metric -> (N,) float32 on the CPU, a value for each image in the split's order, NaN where
            undefined. An image with several classes or objects has its mean over them.
        tables: details; see `Tables` and the suites.
    """

    values: dict[str, float] = field(default_factory=dict)
    per_image: dict[str, Tensor] = field(default_factory=dict)
    tables: Tables = field(default_factory=Tables)


def merge(evaluations: Iterable[Evaluation]) -> Evaluation:
    """Join evaluations of one split; a later one's values count, tables of columns are joined."""
    values: dict[str, float] = {}
    per_image: dict[str, Tensor] = {}
    tables = Tables()
    for each in evaluations:
        values |= each.values
        per_image |= each.per_image
        tables = joined(tables, each.tables)
    return Evaluation({name: values[name] for name in in_order(values)}, per_image, tables)


def write_evaluation(path: str | Path, evaluation: Evaluation) -> None:
    """Write PATH.safetensors (values of every image) and PATH.json (all else), each at once, the JSON last.

    Raises:
        OSError: if a file cannot be written, as on a full disk.
    """
    values = {name: value if math.isfinite(value) else None for name, value in evaluation.values.items()}
    text = json.dumps({"values": values, "tables": evaluation.tables}, allow_nan=False, ensure_ascii=False)
    write_tensors(_file(path, ".safetensors"), evaluation.per_image)
    write_text(_file(path, ".json"), text + "\n")


def read_evaluation(path: str | Path) -> Evaluation:
    """Read the files of `write_evaluation`.

    Raises:
        ValueError: if a file is missing or damaged.
    """
    try:
        found = json.loads(_file(path, ".json").read_text(encoding="utf-8"))
        values = {name: math.nan if value is None else value for name, value in found["values"].items()}
        return Evaluation(values, load_file(_file(path, ".safetensors")), read_tables(found["tables"]))
    except FileNotFoundError as error:
        raise ValueError(f"there is no evaluation {path}: {error.filename or path} is missing") from None
    except (ValueError, KeyError, TypeError, AttributeError, SafetensorError):
        raise ValueError(
            f"evaluation {path} is damaged: remove its .json and .safetensors, and measure again"
        ) from None


def _file(path: str | Path, suffix: str) -> Path:
    path = Path(path)
    return path.with_name(path.name + suffix)  # not `with_suffix`: a split's name may hold a dot
