"""Show images under interventions, with each classifier's answer and evidence."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from looksharp.attention.attend import attend
from looksharp.attention.mechanisms import has_sign
from looksharp.attention.recording import logits_of
from looksharp.curing.results import Example, Measured, Shown
from looksharp.data.split import Split
from looksharp.drawing.panel import Panel
from looksharp.interventions.division import PIECES
from looksharp.interventions.examples import example_pictures
from looksharp.suspects.default import cue_finder
from looksharp.training.folder import Run

__all__ = ["choose_examples"]

_LABELS: dict[bool, dict[str, str]] = {
    False: {
        "original": "as it is",
        "exchanged_within": "surroundings of another {own}",
        "exchanged_across": "surroundings of a {other}",
        "object_only": "the object alone",
        "surroundings_only": "the surroundings alone",
    },
    True: {
        "original": "as it is",
        "exchanged_within": "the piece of another {own}",
        "exchanged_across": "the piece of a {other}",
        "object_only": "without the piece",
        "surroundings_only": "the piece alone",
    },
}
"""Caption of each measure's picture, where pieces were exchanged (True) and where surroundings were."""

_WITH_MAPS = ("original", "exchanged_across")


def choose_examples(
    columns: Sequence[Measured], name: str, split: Split, classes: Sequence[str], count: int = 4
) -> tuple[Example, ...]:
    """Choose images spread evenly over those that were intervened on, whatever their result.

    Args:
        columns: the classifiers.
        name: of the split.
        split: its images.
        classes: class names.
        count: how many images.
    """
    found, pixels = columns[0].proof[name], columns[0].run.pixels
    of_pieces = found.division is PIECES
    hidden = "object_only" if of_pieces else "surroundings_only"
    places = torch.linspace(0, len(found.images) - 1, min(count, len(found.images))).long()
    examples, finders = [], _Finders()
    for image in found.images[places].tolist():
        drawn = example_pictures(split, pixels, found, image)
        own, other = classes[drawn.label], classes[drawn.surroundings]
        labels = {kind: label.format(own=own, other=other) for kind, label in _LABELS[of_pieces].items()}
        mask = drawn.mask > 0.5
        shown = []
        for kind, label in labels.items():
            pictured = drawn.pictures[kind]
            looks = {column.name: _look(column.run, pictured, drawn.label, finders) for column in columns}
            shown.append(
                Shown(
                    label,
                    pixels.denormalize(pictured).cpu(),
                    None if kind == hidden else mask,
                    {run: answer for run, (answer, _) in looks.items()},
                    {run: panel for run, (_, panel) in looks.items()} if kind in _WITH_MAPS else {},
                )
            )
        examples.append(Example(f"Class {own}", tuple(shown)))
    return tuple(examples)


class _Finders(dict[int, str]):
    """The mechanism that finds a cue best in each network, found once."""

    def of(self, model: nn.Module, batch: Tensor) -> str:
        if id(model) not in self:
            self[id(model)] = cue_finder(model, batch, None)
        return self[id(model)]


def _look(run: Run, image: Tensor, label: int, finders: _Finders) -> tuple[tuple[str, bool], Panel]:
    """Return the answer, whether it is the object's class, and the evidence for that class.

    Evidence with a sign is that for the class over the likeliest other. Attention followed back to the patches has no
    sign, and finds the cue by the map of the class itself.
    """
    batch = image[None].to(next(run.model.parameters()).device)
    with torch.no_grad():
        scores = logits_of(run.model(batch))[0].float()
    odds = scores.sigmoid() if run.multilabel else scores.softmax(0)
    other = int(scores.index_fill(0, torch.tensor(label, device=scores.device), -torch.inf).argmax())
    answer = label if odds[label] >= (0.5 if run.multilabel else odds[other]) else other
    mechanism = finders.of(run.model, batch)
    signed = has_sign(mechanism)
    classes = torch.tensor([[label, other] if signed else [label]])
    (maps,) = attend(run.model, batch, classes, mechanism=mechanism, signed=signed).maps.values()
    panel = (
        Panel(f"{run.classes[label]} over {run.classes[other]}", (maps[0, 0] - maps[0, 1]).cpu())
        if signed
        else Panel(run.classes[label], maps[0, 0].cpu())
    )
    return (f"{run.classes[answer]} {odds[answer]:.0%}", answer == label), panel
