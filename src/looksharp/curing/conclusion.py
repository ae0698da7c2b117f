"""From measured classifiers to verdicts and the page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from looksharp.curing.budget import Budget
from looksharp.curing.examples import choose_examples
from looksharp.curing.page import write_cure
from looksharp.curing.results import Cure, Findings, Measured
from looksharp.curing.verdict import deciding_split, judge
from looksharp.data.split import Data, Split
from looksharp.training.settings import RunConfig

__all__ = ["conclude", "in_settings"]


def conclude(
    out: Path,
    columns: Sequence[Measured],
    data: Data,
    proofs: Mapping[str, Split],
    *,
    title: str,
    settings: dict[str, str],
    cure: str = "cure",
    intro: str = "",
    note: str = "",
    split_notes: Mapping[str, str] | None = None,
    budget: Budget | None = None,
) -> Cure:
    """Judge every classifier against the first, and write the page.

    Args:
        out: its folder.
        columns: the classifier before, then the others.
        data: what they were measured on.
        proofs: the splits of the interventions.
        title: of the page.
        settings: what the page says about how they were trained.
        cure: which of them is the cured one.
        intro: see `Findings`.
        note: see `Findings`.
        split_notes: see `Findings`.
        budget: see `Findings`.
    """
    first, *others = columns
    verdicts = {
        each.name: judge(
            first.interventions, each.interventions, (_inside(first), _inside(each)), guided=each.marked > 0
        )
        for each in others
    }
    split = deciding_split(first.interventions)
    findings = Findings(
        title,
        intro,
        data.name,
        data.classes,
        tuple(data.tests),
        tuple(columns),
        cure,
        verdicts,
        dict(split_notes or {}),
        note,
        settings,
        json.loads((first.run.path / "run.json").read_text())["versions"],
        choose_examples(columns, split, proofs[split], data.classes) if split else (),
        budget,
    )
    report = write_cure(out, findings)
    rest = tuple(each for each in others if each.name != cure)
    return Cure(verdicts[cure], first, findings.after, rest, report)


def _inside(measured: Measured) -> dict[str, float]:
    """Split -> share of attention on the object, where it is known."""
    inside = {name: values.get("attention_inside") for name, values in measured.splits.items()}
    return {name: share for name, share in inside.items() if share is not None}


def in_settings(config: RunConfig, data: Data) -> dict[str, str]:
    """How a cure was trained, in words."""
    guidance, training = config.guidance, config.training
    return {
        "Training images": f"{len(data.splits['train']):,}",
        "Network": config.network.backbone,
        "Objective": config.objective,
        "Asked of marked images": guidance.guidance_loss + (" (boxes)" if guidance.guidance_boxes else ""),
        "Marked images in a batch": f"{guidance.guided_per_batch} of {training.batch_size}",
        "Learning rate": f"{config.optimization.lr:g}",
        "Started from": config.network.weights or ("published weights" if config.network.pretrained else "scratch"),
        "Seed": str(training.seed),
    }
