"""Pictures of where a trained classifier looks: overlays, and the maps behind them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from looksharp.attention.attend import Attention, attend
from looksharp.attention.finite import check_finite, check_logits, check_weights
from looksharp.attention.maps import normalize_maps
from looksharp.attention.mechanisms import Mechanism, check_asked
from looksharp.attention.rerun import counting
from looksharp.data.transform import image_transform
from looksharp.files import replacing
from looksharp.images.reading import read_image
from looksharp.networks.built_in import built_in_attention, has_built_in_attention
from looksharp.training.folder import Run, load_run

if TYPE_CHECKING:
    from looksharp.drawing.panel import Panel

__all__ = ["Asked", "chosen_mechanism", "class_maps", "explain", "parse_classes"]


def parse_classes(chosen: str, names: Sequence[str]) -> list[int] | int:
    """Read `--classes`: a number of highest-scoring classes ("top5"), or class names or indices.

    Raises:
        ValueError: if there is no such class.
    """
    if chosen.startswith("top") and chosen[3:].isdecimal() and chosen not in names:
        if int(chosen[3:]) < 1:
            raise ValueError(f"classes must be top1 or more, or names; got {chosen!r}")
        return min(int(chosen[3:]), len(names))
    indices = []
    for name in [chosen] if chosen in names else map(str.strip, chosen.split(",")):  # names may hold commas
        if name in names:
            indices.append(names.index(name))
        elif name.isdecimal() and int(name) < len(names):
            indices.append(int(name))
        else:
            listed = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
            raise ValueError(f"class {name!r} is not one of the run's {len(names)} classes: {listed}")
    return indices


@dataclass(frozen=True)
class Asked:
    """Options of maps of classes, which the network's own attention has none of.

    Attributes:
        layers: names of layers; found in the network if None.
        signed: see `attend`.
        smooth: see `attend`.
        fuse: see `attend`.
    """

    layers: tuple[str, ...] | None = None
    signed: bool = False
    smooth: bool = False
    fuse: bool = False

    def check(self, mechanism: str | Mechanism | None) -> None:
        """Refuse what does not go together, before anything is read.

        Raises:
            ValueError: if several layers are not to be fused, or the mechanism has no such option.
        """
        if mechanism == "built_in" and self != Asked():
            names = "layer and signed" if self.layers is not None or self.signed else "smooth and fuse"
            raise ValueError(f"{names} are for maps of classes; mechanism 'built_in' shows the maps that there are")
        if self.layers is not None and len(self.layers) > 1 and not self.fuse:
            raise ValueError(f"layer names {len(self.layers)}; add fuse to average their maps, or name one")
        if mechanism not in (None, "built_in"):
            check_asked(mechanism, layers=self.layers is not None or self.fuse, signed=self.signed)


@overload
def chosen_mechanism(run: Run, mechanism: str | None, asked: Asked) -> str: ...


@overload
def chosen_mechanism(run: Run, mechanism: str | Mechanism | None, asked: Asked) -> str | Mechanism: ...


def chosen_mechanism(run: Run, mechanism: str | Mechanism | None, asked: Asked) -> str | Mechanism:
    """Return the mechanism, or where none is named, the one that `explain` takes."""
    if mechanism is not None:
        return mechanism
    return "built_in" if asked == Asked() and has_built_in_attention(run.model) else "grad_cam"


def class_maps(
    run: Run, images: Tensor, chosen: list[int] | int, mechanism: str | Mechanism, asked: Asked
) -> Attention:
    """Return the maps of classes of images (B, 3, H, W), or of a number of highest-scoring ones; of one layer.

    Raises:
        ValueError: if answers or maps are not finite; see also `attend`.
    """
    found = attend(
        run.model,
        images,
        torch.tensor(chosen, device=images.device).expand(len(images), -1) if isinstance(chosen, list) else None,
        top=chosen if isinstance(chosen, int) else 1,
        layers=asked.layers,
        mechanism=mechanism,
        signed=asked.signed,
        smooth=asked.smooth,
        fuse=asked.fuse,
    )
    check_logits(found.logits)
    for name, maps in found.maps.items():
        check_finite(maps, f"the maps of layer {name!r}")
    return found


@contextmanager
def _counting(progress: bool) -> Iterator[None]:
    """Show the forwards of one image, if they take more than two seconds."""
    with (
        tqdm(desc="running", unit=" forwards", disable=not progress, leave=False, delay=2) as bar,
        counting(bar.update),
    ):
        yield


def explain(
    run: Run | str | Path,
    images: Sequence[str | Path],
    out: str | Path,
    *,
    classes: str = "top5",
    mechanism: str | Mechanism | None = None,
    layer: str | Sequence[str] | None = None,
    signed: bool = False,
    smooth: bool = False,
    fuse: bool = False,
    progress: bool = True,
) -> list[Path]:
    """Write attention.png (a row per image, a column per map) and, per image, its raw maps as .npz.

    Each .npz holds "maps" (K, h, w), raw, "classes" (K,) names, "probabilities" (K,) and "layer"; built-in attention
    has one array of maps per layer, by its name.

    Args:
        run: the trained run, or its folder.
        images: image files.
        out: folder to write.
        classes: "top5" or another number, or names separated by commas.
        mechanism: mechanism that makes the maps; "built_in" shows the network's own attention, without a backward. If
            not given: "built_in" where the network has such attention, no layer is named and maps are not signed; else
            Grad-CAM.
        layer: the layer they are read from; found in the network if not given. Several need `fuse`. The .npz says
            "image" where maps lie in the input's pixels.
        signed: show maps before their ReLU, evidence for the class in red and against it in blue.
        smooth: average maps over six mirrored and scaled copies of the image; see `attend`.
        fuse: average the maps of several layers, those named or the ends of the last two stages; see `attend`.
        progress: show a progress bar.

    Returns:
        The files written.

    Raises:
        ValueError: if a file is not an image, a class or layer does not exist, an option is combined with "built_in" or
            with a mechanism that does not have it, several layers are not fused, or weights, answers or maps are not
            finite.
    """
    from looksharp.drawing.figures import attention_grid

    paths, out = [Path(path) for path in images], Path(out)
    run = run if isinstance(run, Run) else load_run(run)
    check_weights(run.model)
    layers = (layer,) if isinstance(layer, str) else None if layer is None else tuple(layer)
    asked = Asked(layers, signed, smooth, fuse)
    asked.check(mechanism)

    chosen = parse_classes(classes, run.classes)
    transform = image_transform(run.pixels)
    pictures = [
        transform(read_image(path, value_range=run.pixels.value_range)).as_subclass(Tensor) for path in paths
    ]  # all are read before work starts
    device = next(run.model.parameters()).device
    mechanism = chosen_mechanism(run, mechanism, asked)
    rows: list[tuple[Tensor, list[Panel]]] = []
    written: list[Path] = []
    for path, picture in tqdm(list(zip(paths, pictures, strict=True)), "explaining", disable=not progress):
        batch = run.pixels.normalize(picture).unsqueeze(0).to(device)
        if mechanism == "built_in":
            arrays, panels = _built_in(run, batch, chosen)
        else:
            with _counting(progress):
                arrays, panels = _of_classes(run, batch, chosen, mechanism, asked)
        target = _unused(out / f"{path.stem}.npz", written)
        with replacing(target) as temporary:
            np.savez(temporary, **arrays)
        written.append(target)
        rows.append((picture.float() / 255, panels))
    picture_path = out / "attention.png"
    attention_grid(rows, picture_path, titles=[path.name for path in paths])
    return [picture_path, *written]


def _of_classes(
    run: Run, batch: Tensor, chosen: list[int] | int, mechanism: str | Mechanism, asked: Asked
) -> tuple[dict[str, Any], list[Panel]]:
    """Return arrays and panels of one image's class maps."""
    from looksharp.drawing.panel import Panel

    found = class_maps(run, batch, chosen, mechanism, asked)
    ((name, maps),) = found.maps.items()
    classes, probabilities = found.classes[0].tolist(), _odds(run, found.logits)[found.classes[0].cpu()]
    names = [run.classes[index] for index in classes]
    panels = [
        Panel(f"{label} {probability:.0%}", attention.cpu())
        for label, probability, attention in zip(names, probabilities.tolist(), maps[0], strict=True)
    ]
    arrays = {
        "maps": maps[0].cpu().numpy(),
        "classes": np.array(names),
        "probabilities": probabilities.numpy(),
        "layer": name,
    }
    return arrays, panels


def _built_in(run: Run, batch: Tensor, chosen: list[int] | int) -> tuple[dict[str, Any], list[Panel]]:
    """Return arrays and panels of the maps that the network itself made of one image."""
    from looksharp.drawing.panel import Panel

    found = built_in_attention(run.model, batch)
    check_logits(found.logits)
    odds = _odds(run, found.logits)
    classes = odds.topk(chosen).indices.tolist() if isinstance(chosen, int) else chosen
    said = [f"{run.classes[index]} {odds[index]:.0%}" for index in classes]
    arrays: dict[str, Any] = {
        "classes": np.array([run.classes[index] for index in classes]),
        "probabilities": odds[classes].numpy(),
    }
    panels = []
    for name, maps in found.maps.items():
        check_finite(maps, f"the maps of layer {name!r}")
        shown = maps[0, classes].cpu() if found.per_class else maps[0].cpu()
        arrays[name] = shown.numpy()
        if found.per_class or len(shown) == 1 == len(found.maps):
            titles = said
        elif name in found.shares:
            titles = [f"{name} {share:.0%}" for share in found.shares[name][0].tolist()]
            shown = normalize_maps(shown)  # a mask's largest value depends on how many positions it has
        else:
            titles = [f"{name} head {head + 1}" for head in range(len(shown))]
        panels += [Panel(title, attention) for title, attention in zip(titles, shown, strict=False)]
    return arrays, panels


def _odds(run: Run, logits: Tensor) -> Tensor:
    """Return one image's probabilities (C,), on the CPU."""
    return (logits.sigmoid() if run.multilabel else logits.softmax(1))[0].cpu()


def _unused(path: Path, taken: Sequence[Path]) -> Path:
    """Return the path, or the first numbered one beside it if two images have one name."""
    candidate, number = path, 2
    while candidate in taken:
        candidate, number = path.with_stem(f"{path.stem}-{number}"), number + 1
    return candidate
