"""Write a trained run as a file that other programs run, maps included."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from looksharp.attention.finite import check_weights
from looksharp.attention.recording import unwrapped
from looksharp.exporting.checking import fitted, map_difference
from looksharp.exporting.choosing import mapped, pictures
from looksharp.exporting.facts import metadata_of
from looksharp.exporting.hub import push_run, write_folder
from looksharp.exporting.mapped import Deployed, MapFacts
from looksharp.exporting.programs import PROGRAMS, check_packages
from looksharp.exporting.settings import ExportSettings
from looksharp.files import replacing
from looksharp.training.folder import Run, load_run

__all__ = ["Exported", "export", "export_run"]


@dataclass(frozen=True)
class Exported:
    """Results of an export.

    Attributes:
        path: the file or folder; None if the run was uploaded alone.
        said: what it holds and how it was checked, in words, by topic.
    """

    path: Path | None
    said: dict[str, str]


def export(
    run: Run | str | Path,
    out: str | Path,
    *,
    top: int = 5,
    layer: str | None = None,
    mechanism: str | None = None,
    signed: bool = False,
    checkpoint: str = "last",
) -> Exported:
    """Write a run as ONNX or as a program of torch.export, by the ending of `out` (.onnx or .pt2), maps included.

    The file takes images (batch, 3, height, width) of bytes, RGB, of the run's size; it normalises them itself. It
    gives logits (batch, classes), the highest-scoring classes (batch, K) and their maps (batch, K, h, w), raw and of at
    least 0 unless `signed`. A network with attention of its own gives its own maps; see `ExportSettings.mechanism`. No
    gradient is needed to run it. What the file answers for some images is compared with `attend` before it is kept.

    Args:
        run: the trained run, or its folder.
        out: file to write.
        top: number of classes whose maps it gives.
        layer: the layer they are read from; found in the network if not given.
        mechanism: mechanism of the maps; chosen by the network if not given.
        signed: give evidence against a class too.
        checkpoint: weights of a run folder, "last" or "best".

    Raises:
        ValueError: if the maps need a backward or reruns that no file holds, the network cannot be exported, a package
            is missing, or the file's answers are not the run's.
        OSError: if the file cannot be written.

    Example:
        >>> from looksharp import Pixels, adopt
        >>> from looksharp.networks import SmallNet
        >>> run = adopt(SmallNet(3), classes=["cat", "dog", "eel"], pixels=Pixels((32, 32)), progress=False)
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     found = export(run, f"{folder}/model.pt2", top=2)
        >>> found.said["maps"]
        'of the 2 highest-scoring classes at layer stage3, by grad_cam'

    """
    place = run.path if isinstance(run, Run) else Path(run)
    chosen = ExportSettings(place or Path(), Path(out), None, "last", top, layer, mechanism, signed)
    check_packages(chosen.kind)
    return export_run(run if isinstance(run, Run) else load_run(run, checkpoint, "cpu"), chosen)


def export_run(run: Run, chosen: ExportSettings) -> Exported:
    """Do what `export` does, and formats of the Hugging Face Hub, from settings.

    Raises:
        ValueError: as `export`.
    """
    if chosen.kind == "hub":
        return _for_hub(run, chosen)
    check_packages(chosen.kind)
    network = _on_cpu(unwrapped(run.model))
    check_weights(network)
    images = pictures(2, run.pixels.size)
    normalized = run.pixels.normalize(images)
    top = min(chosen.top, len(run.classes))
    inner = mapped(network, normalized, top=top, layer=chosen.layer, mechanism=chosen.mechanism, signed=chosen.signed)
    wanted = fitted(inner, normalized)
    deployed = Deployed(inner, run.pixels).eval()
    target = chosen.target
    assert target is not None
    target.parent.mkdir(parents=True, exist_ok=True)
    write, read = PROGRAMS[chosen.kind]
    with replacing(target) as temporary:
        write(deployed, images, metadata_of(run, inner.facts), temporary)
        found = read(temporary, images)
        apart = None if found is None else map_difference(found, wanted, f"the exported {target.name}")
    return Exported(target, _said(run, inner.facts, top, apart))


def _on_cpu(network: nn.Module) -> nn.Module:
    """Return the network, or a copy of one that is on an accelerator."""
    where = next((parameter.device.type for parameter in network.parameters()), "cpu")
    return network if where == "cpu" else copy.deepcopy(network).cpu()


def _said(run: Run, facts: MapFacts, top: int, apart: float | None) -> dict[str, str]:
    height, width = run.pixels.size
    of = f"of the {top} highest-scoring classes" if facts.of == "class" else "the network's own, for all classes,"
    checked = "not run: the package onnxruntime is not installed"
    if apart is not None:
        checked = f"run on 2 images: its maps differ from looksharp's by {apart:.0e} of their largest value"
    return {
        "takes": f"image: (batch, 3, {height}, {width}), bytes, RGB",
        "gives": ", ".join(["logits", "classes", *facts.outputs]),
        "maps": f"{of} at layer {', '.join(facts.layers)}, by {facts.mechanism}{', signed' if facts.signed else ''}",
        "check": checked,
    }


def _for_hub(run: Run, chosen: ExportSettings) -> Exported:
    said: dict[str, str] = {}
    if chosen.target is not None:
        said |= write_folder(run, chosen.target)
    if chosen.push is not None:
        said |= push_run(run, chosen.push, private=chosen.private)
    return Exported(chosen.target, said)
