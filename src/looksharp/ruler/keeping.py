"""Keep what was measured of each mechanism, so that an interrupted ranking goes on where it stopped."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError, safe_open

from looksharp.attention.mechanisms import find_mechanism
from looksharp.evaluation.fingerprint import code_fingerprint, file_fingerprint
from looksharp.ruler.cost import Cost
from looksharp.ruler.own import BUILT_IN
from looksharp.ruler.results import Measured
from looksharp.training.state import write_tensors

__all__ = ["keep", "kept_file", "read_kept"]


def kept_file(folder: Path, mechanism: str, facts: Sequence[object]) -> Path:
    """Return the file of a mechanism's measurements under these facts, by the code that measures now."""
    code = code_fingerprint("attention", "metrics", "networks", "ruler") + _code_elsewhere(mechanism)
    key = hashlib.sha256(json.dumps([mechanism, code, *map(str, facts)]).encode()).hexdigest()[:16]
    return folder / f"{re.sub(r'[^a-zA-Z0-9]+', '-', mechanism).strip('-')}-{key}.safetensors"


def _code_elsewhere(mechanism: str) -> str:
    """Return a fingerprint of the file of a mechanism from another package; "" of one from here."""
    if mechanism == BUILT_IN:
        return ""
    found = find_mechanism(mechanism)
    owner = found if inspect.isfunction(found) else type(found)
    if owner.__module__.partition(".")[0] == "looksharp":
        return ""
    with suppress(OSError, TypeError):  # typed in, or built in
        return file_fingerprint(Path(inspect.getfile(owner)))
    return ""


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
