"""Retrain a run with a few marked images, and prove that its shortcut is gone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from jsonargparse import ArgumentParser, Namespace

from looksharp.cli.options import add_run_argument

__all__ = ["add_arguments", "run"]


def add_arguments(parser: ArgumentParser) -> None:
    from looksharp.curing.plan import BASELINES, CURE

    add_run_argument(parser)
    parser.add_argument(
        "--guidance",
        required=True,
        help="Masks or boxes for a few training images, see train; 'data' for those of the data set. Those of test "
        "or validation images serve the proof.",
    )
    parser.add_argument(
        "--out", type=Path, default=None, help="Folder for the page and the runs; RUN-cured if not given."
    )
    parser.add_argument("--data", type=str, default=None, help="Where the run's images are now; see train.")
    parser.add_argument("--root", type=Path, default=None, help="Folder of that set's files.")
    parser.add_argument("--guided", type=float, default=None, help="How many marked images guide; see train.")
    parser.add_argument("--guidance_boxes", action="store_true", help="Replace every mask by the box around it.")
    parser.add_argument(
        "--guidance_loss",
        default=CURE.guidance_loss,
        help="What is asked of marked images; see train. The default held in every network measured; agreement, with "
        "its full weight, leaves less of a cue and loses more where there is one; agreement+contrast, with "
        "--guidance_warmup 200, brings the map along where positions see a part of the image alone.",
    )
    parser.add_argument(
        "--guided_per_batch", type=int, default=None, help="Places of each batch for marked images; half if not given."
    )
    parser.add_argument(
        "--guidance_warmup", type=int, default=0, help="Training steps over which its weight rises from 0."
    )
    parser.add_argument("--epochs", type=int, default=None, help="Of the retraining; the run's own if not given.")
    parser.add_argument("--fine_tune", action="store_true", help="Go on from the run's weights, not from scratch.")
    parser.add_argument(
        "--compare",
        default="",
        metavar="NAME,NAME",
        help=f"Train these too, on the same marks and batches: {', '.join(BASELINES)}, or a guidance loss.",
    )
    parser.add_argument(
        "--budget", default="", metavar="N,N", help="Also train with so many marked images each, and draw the curve."
    )
    parser.add_argument("--seeds", type=int, default=3, help="Trainings for each number of --budget.")
    parser.add_argument(
        "--device", type=Literal["auto", "cpu", "cuda", "mps"], default="auto", help="auto, cpu, cuda or mps."
    )


def run(settings: Namespace) -> None:
    from looksharp.curing.retraining import cure

    values = settings.as_dict()
    values["compare"] = [name.strip() for name in values["compare"].split(",") if name.strip()]
    values["budget"] = _numbers(values["budget"])
    found = cure(values.pop("run"), values.pop("guidance"), values.pop("out"), **values)
    print(found.verdict)
    if found.verdict.warning:
        print(f"looksharp: warning: {found.verdict.warning}", file=sys.stderr)
    print(f"Open {found.report} in a browser.")


def _numbers(text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",") if number.strip()]
    except ValueError:
        raise ValueError(f"budget must be whole numbers separated by commas, such as 0,8,16; got {text!r}") from None
