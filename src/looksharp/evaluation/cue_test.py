"""Tell the object from the cue that came with it: accuracy on two folders of images.

GAIN Sec. 5 and Table 4, "boat": images of the object without its cue, and of the cue without the object.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from looksharp.attention.finite import check_logits
from looksharp.attention.recording import logits_of
from looksharp.data.class_map import listed_classes
from looksharp.data.transform import image_transform
from looksharp.images.finding import find_images
from looksharp.images.reading import read_image
from looksharp.training.folder import Run

__all__ = ["cue_test"]


def cue_test(
    run: Run, name: str, without_cue: str | Path, cue_alone: str | Path, *, batch_size: int = 64, progress: bool = True
) -> dict[str, float]:
    """Measure the accuracy of "is there a NAME?" on two folders of images, searched below them too.

    An image counts as positive if the class's probability is above one half (multi-label), or if the class
    scores highest (single-label).

    Args:
        run: the trained run.
        name: the class.
        without_cue: folder of images that show the class without its cue.
        cue_alone: folder of images that show the cue without the class.
        batch_size: images a forward.
        progress: show a progress bar.

    Returns:
        "without_cue" and "cue_alone", the accuracy on each folder, and "overall", over the images of both.

    Raises:
        ValueError: if there is no such class, or a folder holds no image.
    """
    if name not in run.classes:
        raise ValueError(f"class {name!r} is not one of the run's: {listed_classes(run.classes)}")
    label = run.classes.index(name)
    found = [_positive(run, _images(Path(folder)), label, batch_size, progress) for folder in (without_cue, cue_alone)]
    right = [found[0], ~found[1]]
    means = [float(answers.double().mean()) for answers in (*right, torch.cat(right))]
    return dict(zip(("without_cue", "cue_alone", "overall"), means, strict=True))


def _images(folder: Path) -> list[Path]:
    found = find_images(folder) if folder.is_dir() else []
    if not found:
        raise ValueError(f"{folder} " + ("holds no image" if folder.is_dir() else "does not exist"))
    return found


@torch.no_grad()
def _positive(run: Run, paths: Sequence[Path], label: int, batch_size: int, progress: bool) -> Tensor:
    transform, device = image_transform(run.pixels), next(run.model.parameters()).device
    answers = []
    for start in tqdm(range(0, len(paths), batch_size), paths[0].parent.name, disable=not progress, leave=False):
        images = [
            transform(read_image(path, value_range=run.pixels.value_range)).as_subclass(Tensor)
            for path in paths[start : start + batch_size]
        ]
        logits = logits_of(run.model(run.pixels.normalize(torch.stack(images)).to(device)))
        check_logits(logits)
        answers.append(logits[:, label] > 0 if run.multilabel else logits.argmax(1) == label)
    return torch.cat(answers).cpu()
