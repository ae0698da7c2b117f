"""Turn measured classifiers into verdicts and the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from looksharp.curing.budget import Budget
from looksharp.curing.examples import choose_examples
from looksharp.curing.page import write_cure
from looksharp.curing.results import Cure, Findings, Measured, Words
from looksharp.curing.verdict import deciding_split, judge
from looksharp.data.split import Data, Split
from looksharp.objectives.base import PARTS
from looksharp.objectives.parsing import PartSettings
from looksharp.training.facts import read_facts
from looksharp.training.settings import RunConfig

__all__ = ["conclude", "in_settings"]


def conclude(
    out: Path,
    columns: Sequence[Measured],
    data: Data,
    proofs: Mapping[str, Split],
    words: Words,
    cure: str = "cure",
    budget: Budget | None = None,
) -> Cure:
    """Judge every classifier against the first, and write the page.

    Args:
        out: its folder.
        columns: the classifier before, then the others.
        data: what they were measured on.
        proofs: the splits of the interventions.
        words: text of the page.
        cure: which of them is the cured one.
        budget: accuracy against the number of marked images, where it was asked for.
    """
    first, *others = columns
    verdicts = {
        each.name: judge(
            first.interventions, each.interventions, (_inside(first), _inside(each)), marked=each.marked > 0
        )
        for each in others
    }
    split = deciding_split(first.interventions)
    findings = Findings(
        words,
        data.name,
        data.classes,
        tuple(data.tests),
        tuple(columns),
        cure,
        verdicts,
        read_facts(first.run.folder).versions,
        choose_examples(columns, split, proofs[split], data.classes) if split else (),
        budget,
    )
    report = write_cure(out, findings)
    rest = tuple(each for each in others if each.name != cure)
    return Cure(verdicts[cure], first, findings.after, rest, report)


def _inside(measured: Measured) -> dict[str, float]:
    """Return the share of attention on the object by split, where it is known."""
    inside = {name: values.get("attention_inside") for name, values in measured.splits.items()}
    return {name: share for name, share in inside.items() if share is not None}


def in_settings(config: RunConfig, data: Data) -> dict[str, str]:
    """Describe how a cure was trained."""
    marks, training = config.marks, config.training
    parts = {part.name: part for part in config.objective}
    asked = "+".join(_short(part) for name, part in parts.items() if PARTS[name].reads_marks) or "nothing"
    return {
        "Training images": f"{len(data.splits['train']):,}",
        "Network": config.network.backbone,
        "Objective": "+".join(name for name in parts if not PARTS[name].reads_marks),
        "Asked of marked images": asked + (" (boxes)" if marks.mark_boxes else ""),
        "Marked images in a batch": f"{marks.marked_per_batch} of {training.batch_size}",
        "Learning rate": f"{config.optimization.lr:g}",
        "Started from": config.network.weights or ("published weights" if config.network.pretrained else "scratch"),
        "Seed": str(training.seed),
    }


def _short(part: PartSettings) -> str:
    weight = part.settings.get("weight")
    return part.name if weight is None else f"{part.name}:{weight:g}"
