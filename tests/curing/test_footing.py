from types import SimpleNamespace

import pytest

from looksharp.curing.footing import footing
from looksharp.curing.verdict import TOLERANCE


def found(known, half=0.02, guess=0.1, gap=0.5):
    """What interventions found of a classifier before its cure."""
    values = {"background_gap": gap, "object_only": known}
    intervals = {"object_only": (known - half, known + half)}
    return SimpleNamespace(values=values, intervals=intervals, chance={"object_only": guess})


@pytest.mark.parametrize(
    ("known", "warned"),
    [(0.08, True), (0.1 + TOLERANCE + 0.019, True), (0.1 + TOLERANCE + 0.021, False), (0.9, False)],
)
def test_a_network_that_is_right_by_its_shortcut_alone_is_warned_of(known, warned):
    assert bool(footing({"test": found(known)})) == warned


def test_the_sentence_names_both_shares_and_the_mend():
    assert footing({"test": found(0.123)}) == (
        "Fine-tuning is likely to fail: without their surroundings the classifier as it was is right on 12% of objects "
        "(guessing: 10%), so that it has nothing else to fall back on. Train anew instead: --no_fine_tune."
    )
    assert "without the piece the classifier as it was is right on 12% of images" in footing(
        {"test": found(0.123)}, of_pieces=True
    )


def test_the_split_with_the_largest_gap_decides():
    assert footing({"a": found(0.9, gap=0.1), "b": found(0.1, gap=0.6)})
    assert not footing({"a": found(0.1, gap=0.1), "b": found(0.9, gap=0.6)})


def test_without_a_proof_nothing_is_said():
    assert footing({}) == ""
    assert footing({"test": found(0.1, gap=float("nan"))}) == ""
