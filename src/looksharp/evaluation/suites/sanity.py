"""The suite "sanity": test whether maps change once the network forgets what it learned."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from looksharp.attention.attend import attend
from looksharp.attention.finite import check_logits
from looksharp.attention.mechanisms import reads_layers
from looksharp.attention.recording import logits_of
from looksharp.attention.stages import last_stages
from looksharp.evaluation.result import Evaluation
from looksharp.evaluation.subject import Columns, Subject, listed
from looksharp.evaluation.suite import SUITES, Separate
from looksharp.evaluation.tables import SanityTable
from looksharp.metrics.catalogue import METRICS, Metric
from looksharp.metrics.sanity import layer_count, parameter_randomization
from looksharp.processes.gathering import gathered

__all__ = ["sanity"]

_STEPS = 5
_FORWARDS = 1 + 3 * (_STEPS + 1)  # the answer; an explanation is a forward and a backward that costs two
_SMALLEST = 11  # px: the window by which maps are compared


def sanity(subject: Subject, advance: Callable[[float], object]) -> Evaluation:
    """Compare maps of the predicted class before and after weights are randomised, from the last layer to the first.

    See `parameter_randomization`; layers stay randomised while those before them follow, in five steps.

    Values, and values of every image: "randomised_rank" and "randomised_ssim", the similarity once every weight is
    random: the lower, the better. An image counts if both of its maps show something. Table "sanity": for each step the
    last randomised layer, both means, and the number of images "undefined" in each. Nothing for images below 11 px.

    Args:
        subject: the subject to measure.
        advance: called with the number of forwards done.
    """
    if min(subject.pixels.size) < _SMALLEST or not len(subject.split):
        advance(_FORWARDS * len(subject.split))
        return Evaluation()
    columns, layers = Columns(), subject.layers and [subject.layers[1]]
    layered = reads_layers(subject.mechanism)
    steps, found = min(_STEPS, layer_count(subject.model)), []

    def explain(model: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
        maps = attend(model, images, classes, layers=layers, mechanism=subject.mechanism).maps
        return next(iter(maps.values()))[:, 0]

    for batch in subject.batches():
        if layered:
            layers = layers or list(last_stages(subject.model, batch.image, count=1))
        with torch.no_grad():
            logits = logits_of(subject.model(batch.image))
        check_logits(logits)
        similarity = parameter_randomization(subject.model, batch.image, logits.argmax(1), explain, steps=steps)
        found.append(torch.stack([similarity.rank, similarity.ssim], 1).double().cpu())  # (B, 2, steps)
        columns.add({"randomised_rank": similarity.rank[:, -1], "randomised_ssim": similarity.ssim[:, -1]})
        advance(_FORWARDS * len(batch))
    per_image = columns.joined()
    values = {name: float(column.double().nanmean()) for name, column in per_image.items()}
    return Evaluation(values, per_image, {"sanity": _table(similarity.layers, gathered(torch.cat(found)))})


def _table(layers: tuple[str, ...], found: Tensor) -> SanityTable:
    """Return an entry for each step, from similarities (N, 2, steps)."""
    means, undefined = found.nanmean(0), found.isnan().sum(0)
    return {
        "layer": list(layers),
        "rank": listed(means[0]),
        "ssim": listed(means[1]),
        "rank_undefined": undefined[0].tolist(),
        "ssim_undefined": undefined[1].tolist(),
    }


SUITES.add(
    "sanity",
    Separate(
        f"{_FORWARDS} forwards",
        sanity,
        _FORWARDS,
        reads_maps=True,
        needs=f"images of {_SMALLEST} px or more",
        place=7,
    ),
)
METRICS.add(
    "randomised_rank",
    Metric(
        "Maps with random weights, rank",
        "lower",
        "Whether maps rank positions alike once the network has forgotten all: a map that explains it does not.",
    ),
)
METRICS.add(
    "randomised_ssim",
    Metric(
        "Maps with random weights, structure",
        "lower",
        "How alike maps look once the network has forgotten all: a map that explains it changes.",
    ),
)
