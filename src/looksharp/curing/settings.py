"""The settings of a cure; the flags of `looksharp cure` are read off them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge

from looksharp.curing.plan import CURE
from looksharp.settings import settings
from looksharp.training.settings import Positive

__all__ = ["CureSettings"]


@settings
class CureSettings:
    """The settings of a cure.

    Args:
        run: run folder of the classifier to cure.
        marks: masks or boxes of a few training images, see train; "data" for those of the data set. Those of test or
            validation images serve the proof.
        out: folder for the page, its figures and the runs; RUN-cured if not given.
        data: where the run's images are now, if not where they were.
        root: folder of that set's files.
        marked: number of marked images to train with, or a share of the training images below 1; all that are not
            held out for the proof if not given.
        marked_classes: use marks of these classes alone; all if not given.
        marked_per_batch: places of each batch that are drawn from the marked images; half of them if not given.
        mark_boxes: replace every mask by the box around it.
        marks_orientation: coordinates of the marks: those of the upright image, or of the pixels as stored, before the
            EXIF orientation turns them.
        mark_crowds: take COCO's crowds (iscrowd) for marks too.
        guidance: parts of the objective that read marks, as in train --objective. The default held in every network
            measured; agreement, with its full weight, leaves less of a cue and loses more where there is one;
            agreement+contrast brings the map along where positions see a part of the image alone.
        warmup: training steps over which the weights of guidance rise from 0, where it does not say.
        epochs: epochs of the retraining; the run's own number if not given.
        fine_tune: go on from the run's weights at a tenth of its learning rate, instead of training anew.
        compare: what else to train on the same marks and batches: labels, class_balanced, group_balanced, group_dro,
            dfr, gain_ext, or other guidance.
        budget: numbers of marked images to train with too, for the curve of accuracy against them; 0 is without any.
        seeds: trainings for each of those numbers.
        device: auto, cpu, cuda or mps.
    """

    run: Path
    marks: str
    out: Path | None = None
    data: str | None = None
    root: Path | None = None
    marked: Positive | None = None
    marked_classes: list[str] | None = None
    marked_per_batch: Annotated[int, Ge(0)] | None = None
    mark_boxes: bool = False
    marks_orientation: Literal["upright", "stored"] = "upright"
    mark_crowds: bool = False
    guidance: str | list[Any] = CURE.guidance
    warmup: Annotated[int, Ge(0)] = 0
    epochs: Annotated[int, Ge(1)] | None = None
    fine_tune: bool = False
    compare: tuple[str, ...] = ()
    budget: tuple[int, ...] = ()
    seeds: Annotated[int, Ge(1)] = 3
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
