"""Draw ABN Fig. 6: test images as points, by a network alone, and by ABN before and after its map is applied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from looksharp.attention.threads import hook_here
from looksharp.comparison.projection import project
from looksharp.comparison.results import Projection
from looksharp.comparison.scenes import spread
from looksharp.data.split import Split
from looksharp.drawing.canvas import INK, render
from looksharp.networks.attention_branch import AttendedStage
from looksharp.training.folder import load_run

__all__ = ["TITLES", "draw_panels", "map_not_applied", "panels_of"]

TITLES = ("network alone", "ABN, map not applied", "ABN, map applied")
_IMAGES = 5000  # ABN Sec. 4.3


@contextmanager
def map_not_applied(network: nn.Module) -> Iterator[None]:
    """Leave features of an attention branch network unweighed: the last stage reads g rather than g (1 + M) or g M.

    Raises:
        ValueError: if the network has no attention branch.
    """
    stages = [module for module in network.modules() if isinstance(module, AttendedStage)]
    if not stages:
        raise ValueError(f"panels are of an attention branch network; {type(network).__name__} has no attention branch")
    with ExitStack() as stack:
        for stage in stages:
            neutral = 0.0 if stage.residual else 1.0

            def replaced(
                _module: nn.Module, _arguments: object, output: tuple[Tensor, Tensor], neutral: float = neutral
            ) -> tuple[Tensor, Tensor]:
                return torch.full_like(output[0], neutral), output[1]

            hook_here(stack, stage.branch.register_forward_hook, replaced)
        yield


def panels_of(alone: Path, attended: Path, split: Split, device: str = "auto") -> dict[str, Projection]:
    """Project test images by the last stage's mean over positions, each panel by a t-SNE of its own.

    Args:
        alone: run folder of the network alone.
        attended: run folder of the same network with an attention branch.
        split: test images, of which 5,000 are taken.
        device: where networks run.

    Returns:
        `TITLES` -> points.
    """
    images = spread(len(split), _IMAGES)
    found = {TITLES[0]: project(load_run(alone, "last", device), split, images)}
    run = load_run(attended, "last", device)
    with map_not_applied(run.model):
        found[TITLES[1]] = project(run, split, images)
    return found | {TITLES[2]: project(run, split, images)}


def draw_panels(panels: Mapping[str, Projection]) -> bytes:
    """Return the panels side by side as SVG, points coloured by class."""
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure((3.0 * len(panels), 3.2), layout="constrained")
    for axes, (title, found) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        colors = matplotlib.colormaps["hsv"](found.labels.numpy() / max(int(found.labels.max()) + 1, 1))
        axes.scatter(found.points[:, 0].tolist(), found.points[:, 1].tolist(), s=6, c=colors, linewidths=0)
        axes.set_title(title, color=INK[False].text, fontsize=9)
        axes.set(xticks=[], yticks=[])
    return render(figure, "svg")
