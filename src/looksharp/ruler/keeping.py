"""Keep what was measured of each mechanism, so that an interrupted ranking goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError, safe_open

from looksharp.ruler.cost import Cost
from looksharp.ruler.results import Measured
from looksharp.training.state import write_tensors

__all__ = ["keep", "kept_file", "read_kept"]


def kept_file(folder: Path, mechanism: str, facts: Sequence[object]) -> Path:
    """Return the file of a mechanism's measurements under these facts."""
    key = hashlib.sha256(json.dumps([mechanism, *map(str, facts)]).encode()).hexdigest()[:16]
    return folder / f"{re.sub(r'[^a-zA-Z0-9]+', '-', mechanism).strip('-')}-{key}.safetensors"


def keep(path: Path, measured: Measured) -> None:
    """Write the measurements of one mechanism, at once."""
    facts = {"cost": list(measured.cost), "seconds": measured.seconds}
    scores = {f"score.{name}": values for name, values in measured.per_image.items()}
    write_tensors(path, scores | {"maps": measured.maps}, {"facts": json.dumps(facts)})


def read_kept(path: Path, mechanism: str) -> Measured | None:
    """Read measurements back; None if there are none, or they are damaged."""
    with suppress(OSError, SafetensorError, ValueError, KeyError, TypeError), safe_open(path, "pt") as file:
        facts = json.loads(file.metadata()["facts"])
        scores = {n.removeprefix("score."): file.get_tensor(n) for n in file.keys() if n.startswith("score.")}
        return Measured(mechanism, scores, Cost(*facts["cost"]), facts["seconds"], file.get_tensor("maps"))
    return None
