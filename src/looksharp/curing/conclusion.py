"""Turn measured classifiers into verdicts and the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from looksharp.curing.budget import Budget
from looksharp.curing.examples import choose_examples
from looksharp.curing.page import write_cure
from looksharp.curing.plan import guides
from looksharp.curing.results import Cure, Findings, Measured, Words
from looksharp.curing.verdict import OF_PIECES, Verdict, deciding_split, judge, worse
from looksharp.data.split import Data, Split
from looksharp.objectives.base import PARTS
from looksharp.objectives.parsing import PartSettings
from looksharp.training.facts import read_facts
from looksharp.training.settings import RunConfig

__all__ = ["CEILING", "conclude", "in_settings"]

CEILING = "ceiling"
"""The name of a network that was trained without the cue, among the classifiers."""


def conclude(
    out: Path,
    columns: Sequence[Measured],
    data: Data,
    proofs: tuple[Mapping[str, Split], Mapping[str, Split]],
    words: Words,
    cure: str = "cure",
    budget: Budget | None = None,
) -> Cure:
    """Judge every classifier against the first, and write the page.

    Args:
        out: its folder.
        columns: the classifier before, then the others; the one named `CEILING` was trained without the cue, and gets
            no verdict.
        data: what they were measured on.
        proofs: the splits of the interventions by marks, and of those by pieces.
        words: text of the page.
        cure: which of them is the cured one.
        budget: accuracy against the number of marked images, where it was asked for.
    """
    first, *others = columns
    ceiling = next((each for each in others if each.name == CEILING), None)
    verdicts = {each.name: _judged(first, each, ceiling) for each in others if each is not ceiling}
    by_marks, by_pieces = proofs
    split, images = deciding_split(first.proof), by_pieces or by_marks
    findings = Findings(
        words,
        data.name,
        data.classes,
        tuple(data.tests),
        tuple(columns),
        cure,
        verdicts,
        read_facts(first.run.folder).versions,
        choose_examples(columns, split, images[split], data.classes) if split else (),
        budget,
    )
    report = write_cure(out, findings)
    rest = tuple(each for each in others if each.name != cure)
    return Cure(verdicts[cure], first, findings.after, rest, report)


def _judged(first: Measured, after: Measured, ceiling: Measured | None) -> Verdict:
    """Judge by pieces where there are any, and by marks where there are any; the worse verdict counts."""
    asked = after.marked > 0 or after.ticks > 0
    inside = _inside(first), _inside(after)
    best = None if ceiling is None else ceiling.interventions
    found = judge(first.interventions, after.interventions, inside, marked=asked, ceiling=best)
    if not first.pieces:
        return found
    best = None if ceiling is None else ceiling.pieces
    by_pieces = judge(first.pieces, after.pieces, marked=asked, said=OF_PIECES, ceiling=best)
    return worse(by_pieces, found) if first.interventions else by_pieces


def _inside(measured: Measured) -> dict[str, float]:
    """Return the share of attention on the object by split, where it is known."""
    inside = {name: values.get("attention_inside") for name, values in measured.splits.items()}
    return {name: share for name, share in inside.items() if share is not None}


def in_settings(config: RunConfig, data: Data) -> dict[str, str]:
    """Describe how a cure was trained."""
    marks, training = config.marks, config.training
    parts = {part.name: part for part in config.objective}
    asked, of_cues = (
        "+".join(_short(part) for name, part in parts.items() if wanted(PARTS[name]))
        for wanted in (lambda part: part.reads_marks, lambda part: part.reads_cues)
    )
    return {
        "Training images": f"{len(data.splits['train']):,}",
        "Network": config.network.backbone,
        "Objective": "+".join(part.name for part in config.objective if not guides(part)),
        "Asked of marked images": (asked or "nothing") + (" (boxes)" if marks.mark_boxes else ""),
        **({"Asked of images with a ticked piece": of_cues} if of_cues else {}),
        "Marked images in a batch": f"{marks.marked_per_batch} of {training.batch_size}",
        "Learning rate": f"{config.optimization.lr:g}",
        "Started from": config.network.weights or ("published weights" if config.network.pretrained else "scratch"),
        "Seed": str(training.seed),
    }


def _short(part: PartSettings) -> str:
    weight = part.settings.get("weight")
    return part.name if weight is None else f"{part.name}:{weight:g}"
