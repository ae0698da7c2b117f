"""Write a deployed network as ONNX, or as a program of torch.export."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from looksharp.exporting.mapped import Deployed
from looksharp.exporting.settings import Format

__all__ = ["PROGRAMS", "check_packages"]

_OPSET = 20
_LARGEST = 2_000_000_000
"""Bytes of weights that one ONNX file holds."""

_NEEDED = ("onnx", "onnxscript")

Write = Callable[[Deployed, Tensor, Mapping[str, str], Path], None]
"""Writes a network, traced on images (B, 3, H, W) of bytes, with its metadata, to a file."""

Read = Callable[[Path, Tensor], tuple[Tensor, ...] | None]
"""Returns what a file answers for such images; None if nothing is installed that can run it."""


def check_packages(kind: Format) -> None:
    """Refuse a format whose packages are not installed.

    Raises:
        ValueError: the message names them.
    """
    missing = [name for name in _NEEDED if kind == "onnx" and find_spec(name) is None]
    if missing:
        raise ValueError(f"format onnx needs the package {' and '.join(missing)}: pip install 'looksharp[export]'")


def _write_onnx(network: Deployed, images: Tensor, metadata: Mapping[str, str], path: Path) -> None:
    size = sum(value.numel() * value.element_size() for value in network.state_dict().values())
    if size > _LARGEST:
        raise ValueError(f"one ONNX file holds 2 GB of weights, and these are {size / 1e9:.1f} GB; take --format torch")
    outputs = ["logits", "classes", *network.mapped.facts.outputs]
    with _exporting("ONNX"):
        program: Any = torch.onnx.export(
            network,
            (images,),
            dynamo=True,
            opset_version=_OPSET,
            dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
            input_names=["image"],
            output_names=outputs,
            verbose=False,
        )
    program.model.metadata_props.update(metadata)
    program.save(str(path), external_data=False)


def _run_onnx(path: Path, images: Tensor) -> tuple[Tensor, ...] | None:
    if find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return tuple(torch.from_numpy(value) for value in session.run(None, {"image": images.numpy()}))


def _write_torch(network: Deployed, images: Tensor, metadata: Mapping[str, str], path: Path) -> None:
    with _exporting("a program of torch.export"):
        program = torch.export.export(network, (images,), dynamic_shapes={"image": {0: torch.export.Dim("batch")}})
    torch.export.save(program, str(path), extra_files={"looksharp.json": json.dumps(dict(metadata), indent=2)})


def _run_torch(path: Path, images: Tensor) -> tuple[Tensor, ...] | None:
    found: tuple[Tensor, ...] = torch.export.load(str(path)).module()(images)
    return found


PROGRAMS: dict[Format, tuple[Write, Read]] = {"onnx": (_write_onnx, _run_onnx), "torch": (_write_torch, _run_torch)}
"""Format -> how to write a file of it, and how to run one."""


@contextmanager
def _exporting(form: str) -> Iterator[None]:
    """Keep remarks of the exporter off the terminal, and say in one line what it cannot express.

    Raises:
        ValueError: if it fails.
    """
    logger = logging.getLogger("torch")
    level = logger.level
    try:
        logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # of any kind: tracers, decompositions and converters have their own
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ValueError(f"the network cannot be written as {form}: {type(error).__name__}: {reason:.160}") from None
    finally:
        logger.setLevel(level)
