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
        marks: file of masks or boxes of a few training images, see train; "data" for those of the data set. Marks of
            test or validation images are used for the proof.
        out: folder for the page, its figures and the runs; RUN-cured if not given.
        data: where the run's images are now, if they have moved.
        root: folder that holds the data set's files.
        class_map: file that maps the classes of the data to the run's, where they are called otherwise; see train.
        marked: number of marked images to train with, or, below 1, a share of the training images; if not given, all
            that are not held out for the proof.
        marked_classes: use only marks of these classes; all if not given.
        marked_per_batch: number of places in each batch for marked images; if not given half of the batch, or none
            where marks are propagated, since most images then have one.
        propagate: mark the object in all training images by a small segmenter that learns from the marked ones; see
            train.
        propagate_without: names of images whose mask, as the sheet of a training shows it, is not to guide; none if
            not given.
        mark_boxes: replace every mask by the box around it.
        marks_orientation: coordinates of the marks: those of the upright image, or of the pixels as stored, before the
            EXIF orientation turns them.
        mark_crowds: use COCO's crowds (iscrowd) as marks too.
        guidance: parts of the objective that read marks, as in train --objective. The default worked in every network
            measured. agreement (weight 1) leaves less of a cue, and loses more accuracy where there is one.
            agreement+contrast also moves the map onto the object, in networks whose positions see part of the image.
        warmup: number of training steps over which guidance's weights rise from 0, unless guidance sets its own.
        epochs: epochs of the retraining; the run's own number if not given.
        fine_tune: continue from the run's weights at a tenth of its learning rate, instead of training anew; by
            default for a run that was adopted. --no_fine_tune trains that anew, from its network's own first weights.
        lr: learning rate of the retraining; if not given, the run's, or a tenth of it for fine-tuning.
        compare: baselines to train on the same batches: labels, class_balanced, group_balanced, group_dro, dfr,
            gain_ext, or other guidance.
        budget: further numbers of marked images to train with, for a curve of accuracy against them; 0 is none.
        seeds: number of trainings for each number in budget.
        device: auto, cpu, cuda or mps.
    """

    run: Path
    marks: str
    out: Path | None = None
    data: str | None = None
    root: Path | None = None
    class_map: Path | None = None
    marked: Positive | None = None
    marked_classes: list[str] | None = None
    marked_per_batch: Annotated[int, Ge(0)] | None = None
    propagate: bool = False
    propagate_without: list[str] | None = None
    mark_boxes: bool = False
    marks_orientation: Literal["upright", "stored"] = "upright"
    mark_crowds: bool = False
    guidance: str | list[Any] = CURE.guidance
    warmup: Annotated[int, Ge(0)] = 0
    epochs: Annotated[int, Ge(1)] | None = None
    fine_tune: bool | None = None
    lr: Positive | None = None
    compare: tuple[str, ...] = ()
    budget: tuple[int, ...] = ()
    seeds: Annotated[int, Ge(1)] = 3
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
