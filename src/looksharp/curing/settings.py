"""The settings of a cure; the flags of `looksharp cure` are read off them."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge

from looksharp.curing.plan import CURE
from looksharp.settings import SettingError, settings
from looksharp.training.settings import Positive

__all__ = ["CureSettings"]


@settings
class CureSettings:
    """The settings of a cure.

    Args:
        run: run folder of the classifier to cure.
        marks: file of masks or boxes of a few training images, see train; "data" for those of the data set. Marks of
            test or validation images are used for the proof. Not needed with cues.
        out: folder for the page, its figures and the runs; RUN-cured if not given.
        cues: the groups.json of `looksharp suspects RUN`, or its folder.
        shortcut: groups of cues that show a shortcut, by their numbers, such as 1,2,5; "all" stands for every group but
            those of object. Their regions are exchanged between images.
        object: groups of cues that show the object; their regions become marks.
        data: where the run's images are now, if they have moved.
        root: folder that holds the data set's files.
        class_map: file that maps the classes of the data to the run's, where they are called otherwise; see train.
        marked: number of marked images to train with, or, below 1, a share of the training images; if not given, all
            that are not held out for the proof.
        marked_classes: use only marks of these classes; all if not given.
        marked_per_batch: number of places in each batch for marked images; if not given half of the batch, or none
            where marks were propagated to half of the images or more.
        propagate: mark the object in all training images by a small segmenter that learns from the marked ones; see
            train. With cues, such a segmenter also finds pieces like the ticked ones in all other images. If not
            given, it is done where at least 4 images have a mark (or such a piece), enough others have none, and images
            have one class each; regions of object are propagated if asked for. --no_propagate does without.
        propagate_without: names of images whose mask, as the sheet of a training shows it, is not to guide; none if
            not given.
        mark_boxes: replace every mask by the box around it.
        marks_orientation: coordinates of the marks: those of the upright image, or of the pixels as stored, before the
            EXIF orientation turns them.
        mark_crowds: use COCO's crowds (iscrowd) as marks too.
        guidance: parts of the objective that read marks, as in train --objective. The default worked in every network
            measured. agreement (weight 1) leaves less of a cue, and loses more accuracy where there is one.
            agreement+contrast also moves the map onto the object, in networks whose positions see part of the image.
        cue_guidance: parts of the objective that read the regions of a shortcut, likewise; see cue_exchange in train.
        warmup: number of training steps over which guidance's weights rise from 0, unless guidance sets its own.
        epochs: epochs of the retraining; the run's own number if not given.
        fine_tune: continue from the run's weights at a tenth of its learning rate, instead of training anew; by
            default for a run that was adopted. --no_fine_tune trains that anew, from its network's own first weights.
        lr: learning rate of the retraining; if not given, the run's, or a tenth of it for fine-tuning.
        compare: baselines to train on the same batches: labels, class_balanced, group_balanced, group_dro, dfr,
            gain_ext, or other guidance.
        ceiling: run folder of the same network trained without the cue, where there is one: what a cure can reach. The
            verdict compares what surroundings alone still say with it, and with guessing otherwise.
        budget: further numbers of marked images to train with, for a curve of accuracy against them; 0 is none. Without
            marks they are numbers of groups ticked as a shortcut, the first ones.
        seeds: number of trainings for each number in budget.
        device: auto, cpu, cuda or mps.
    """

    run: Path
    marks: str | None = None
    cues: Path | None = None
    shortcut: str | list[int] | None = None
    object: str | list[int] | None = None
    out: Path | None = None
    data: str | None = None
    root: Path | None = None
    class_map: Path | None = None
    marked: Positive | None = None
    marked_classes: list[str] | None = None
    marked_per_batch: Annotated[int, Ge(0)] | None = None
    propagate: bool | None = None
    propagate_without: list[str] | None = None
    mark_boxes: bool = False
    marks_orientation: Literal["upright", "stored"] = "upright"
    mark_crowds: bool = False
    guidance: str | list[Any] = CURE.guidance
    cue_guidance: str | list[Any] = CURE.cue_guidance
    warmup: Annotated[int, Ge(0)] = 0
    epochs: Annotated[int, Ge(1)] | None = None
    fine_tune: bool | None = None
    lr: Positive | None = None
    compare: tuple[str, ...] = ()
    ceiling: Path | None = None
    budget: tuple[int, ...] = ()
    seeds: Annotated[int, Ge(1)] = 3
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"

    def __post_init__(self) -> None:
        ticked = next((name for name in ("shortcut", "object") if getattr(self, name) is not None), None)
        if self.cues is None:
            if ticked is not None:
                raise SettingError(f"{ticked} names groups of looksharp suspects: name its groups.json by cues")
            if self.marks is None:
                raise SettingError(
                    "marks of a few images are required: --marks; see looksharp cure --help; or groups of suspects "
                    "that show a shortcut, by --cues and --shortcut"
                )
        elif ticked is None:
            raise SettingError(
                "cues needs the groups that show a shortcut or the object: name them by shortcut or object"
            )
        if self.propagate is False and self.propagate_without:
            raise SettingError("propagate_without refuses masks that propagate finds: leave out no_propagate")
        if self.marks is None:
            given = [each.name for each in fields(self) if getattr(self, each.name) != each.default]
            of_ticks = ("propagate",) if self.object is None else ("propagate", "guidance")
            needless = next((name for name in given if name in _OF_MARKS and name not in of_ticks), None)
            if needless is not None:
                raise SettingError(f"{needless} is for marks, but there are none: name a file of them by marks")


_OF_MARKS = (
    "marked",
    "marked_classes",
    "propagate",
    "propagate_without",
    "mark_boxes",
    "marks_orientation",
    "mark_crowds",
    "guidance",
)
