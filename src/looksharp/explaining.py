"""Pictures of where a trained classifier looks: overlays, and the maps behind them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from looksharp.attention import attend
from looksharp.data.files import image_transform, read_image
from looksharp.files import replacing
from looksharp.mechanisms import Mechanism
from looksharp.training.folder import Run

__all__ = ["explain", "parse_classes"]


def parse_classes(chosen: str, names: Sequence[str]) -> list[int] | int:
    """What `--classes` means: a number of highest-scoring classes ("top5"), or class names or indices.

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


def explain(
    run: Run,
    images: Sequence[Path],
    out: Path,
    *,
    classes: str = "top5",
    mechanism: str | Mechanism = "grad_cam",
    layer: str | None = None,
    signed: bool = False,
    progress: bool = True,
) -> list[Path]:
    """Write attention.png (a row per image, a column per class) and, per image, its raw maps as .npz.

    Each .npz holds "maps" (K, h, w), raw, "classes" (K,) names, "probabilities" (K,) and "layer".

    Args:
        run: the trained run.
        images: image files.
        out: folder for what is written.
        classes: "top5" or another number, or names separated by commas.
        mechanism: how maps are made.
        layer: the layer they are read from; found in the network if not given.
        signed: maps before their ReLU: evidence for the class in red, against it in blue.
        progress: show a progress bar.

    Returns:
        The files written.

    Raises:
        ValueError: if a file is no image, or a class or layer is not there.
    """
    from looksharp.report import Panel, attention_grid

    chosen = parse_classes(classes, run.classes)
    transform = image_transform(run.pixels)
    pictures = [transform(read_image(path)).as_subclass(Tensor) for path in images]  # all are read before work starts
    device = next(run.model.parameters()).device
    rows: list[tuple[Tensor, list[Panel]]] = []
    written: list[Path] = []
    for path, picture in tqdm(list(zip(images, pictures, strict=True)), "explaining", disable=not progress):
        batch = run.pixels.normalize(picture).unsqueeze(0).to(device)
        found = attend(
            run.model,
            batch,
            torch.tensor([chosen]) if isinstance(chosen, list) else None,
            top=chosen if isinstance(chosen, int) else 1,
            layers=None if layer is None else [layer],
            mechanism=mechanism,
            signed=signed,
        )
        ((name, maps),) = found.maps.items()
        odds = found.logits.sigmoid() if run.multilabel else found.logits.softmax(1)
        names = [run.classes[index] for index in found.classes[0].tolist()]
        probabilities = odds[0, found.classes[0]].cpu()
        target = _unused(out / f"{path.stem}.npz", written)
        with replacing(target) as temporary:
            np.savez(
                temporary,
                maps=maps[0].cpu().numpy(),
                classes=np.array(names),
                probabilities=probabilities.numpy(),
                layer=name,
            )
        written.append(target)
        panels = [
            Panel(f"{label} {probability:.0%}", attention.cpu())
            for label, probability, attention in zip(names, probabilities.tolist(), maps[0], strict=True)
        ]
        rows.append((picture.float() / 255, panels))
    picture_path = out / "attention.png"
    attention_grid(rows, picture_path, titles=[path.name for path in images])
    return [picture_path, *written]


def _unused(path: Path, taken: Sequence[Path]) -> Path:
    """The path, or the first numbered one beside it if two images have one name."""
    candidate, number = path, 2
    while candidate in taken:
        candidate, number = path.with_stem(f"{path.stem}-{number}"), number + 1
    return candidate
