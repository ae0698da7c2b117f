"""Warn before fine-tuning a classifier that has nothing to fall back on once its shortcut is taken away."""

from __future__ import annotations

from collections.abc import Mapping

from looksharp.curing.verdict import OF_OBJECTS, OF_PIECES, TOLERANCE, Evidence, deciding_split

__all__ = ["footing"]


def footing(proof: Mapping[str, Evidence], *, of_pieces: bool = False) -> str:
    """Return a sentence that warns of fine-tuning a classifier that tells nothing without its shortcut; "" otherwise.

    It tells nothing if accuracy without what should not count is not shown to be above guessing by more than
    `TOLERANCE`: such a network has read the shortcut alone, and what fine-tuning starts from is of no use.

    Args:
        proof: split -> what interventions found of the classifier before the cure.
        of_pieces: these are interventions on pieces, not on the surroundings of objects.
    """
    split = deciding_split(proof)
    if not split:
        return ""
    found = proof[split]
    known, guess = found.values["object_only"], found.chance["object_only"]
    if found.intervals["object_only"][0] > guess + TOLERANCE:
        return ""
    said = OF_PIECES if of_pieces else OF_OBJECTS
    return (
        f"Fine-tuning is likely to fail: {said.without} the classifier as it was is right on {known:.0%} of "
        f"{said.things} (guessing: {guess:.0%}), so that it has nothing else to fall back on. Train anew instead: "
        f"--no_fine_tune."
    )
