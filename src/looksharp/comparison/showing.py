"""Make a comparison's pictures from each method's first run."""

from __future__ import annotations

from collections.abc import Mapping

from tqdm import tqdm

from looksharp.comparison.projection import project
from looksharp.comparison.results import Gallery, Projection, Scene
from looksharp.comparison.scenes import changed_scenes, confused_scenes, layer_scenes, most_changed, spread
from looksharp.data.split import Split
from looksharp.evaluation import Evaluation
from looksharp.training.folder import Run

__all__ = ["make_gallery"]


def make_gallery(
    split: Split,
    runs: Mapping[str, Run],
    evaluations: Mapping[str, Evaluation],
    *,
    mechanism: str = "grad_cam",
    pictures: int = 4,
    points: int = 500,
    progress: bool = True,
) -> Gallery:
    """Make pictures of a split: largest changes, the first method's confused pairs, layers, and images as points.

    Args:
        split: the images.
        runs: method -> the run that is looked at.
        evaluations: method -> what was measured of that run on that split.
        mechanism: how maps are made.
        pictures: images of a kind.
        points: the most images of a t-SNE.
        progress: show a progress bar.
    """
    first, *others = runs
    changed: dict[str, dict[str, list[Scene]]] = {}
    projections: dict[str, Projection] = {}
    with tqdm(total=len(others) + 2 + len(runs), desc="drawing", disable=not progress) as bar:
        for number, name in enumerate(others, 1):
            columns = [evaluations[method].per_image.get("true_probability") for method in (first, name)]
            if columns[0] is not None and columns[1] is not None:
                kinds = dict(zip(("improved", "harmed"), most_changed(columns[0], columns[1], pictures), strict=True))
                both = {method: runs[method] for method in (first, name)}
                changed[name] = {
                    f"most {kind}": changed_scenes(
                        split, {image: f"{kind}-{number}" for image in images}, both, mechanism
                    )
                    for kind, images in kinds.items()
                }
            bar.update()
        pairs = evaluations[first].tables.get("confused_pairs", [])
        confused = confused_scenes(
            split, [(pair["classes"][0], pair["classes"][1]) for pair in pairs[:pictures]], runs, mechanism
        )
        bar.update()
        layers = layer_scenes(split, spread(len(split), pictures), runs, mechanism)
        bar.update()
        for name, run in runs.items():
            projections[name] = project(run, split, spread(len(split), points))
            bar.update()
    return Gallery(changed, confused, layers, projections)
