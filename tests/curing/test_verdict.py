import math
from types import SimpleNamespace

import pytest

from looksharp.curing.verdict import TOLERANCE, judge


def found(gap, across, half=0.02, split="test"):
    """What interventions found, with intervals of the same half width."""
    values = {"background_gap": gap, "exchanged_across": across, "exchanged_within": across + gap}
    intervals = {name: (value - half, value + half) for name, value in values.items()}
    return {split: SimpleNamespace(values=values, intervals=intervals)}


SHORTCUT = found(0.5, 0.2)


@pytest.mark.parametrize(
    ("after", "kind"),
    [
        (found(0.01, 0.95), "cured"),
        (found(-0.01, 0.95), "cured"),
        (found(0.029, 0.95), "cured"),  # up to 0.049
        (found(0.031, 0.95), "partly"),  # up to 0.051
        (found(0.2, 0.6), "partly"),
        (found(0.45, 0.26), "partly"),  # its end, 0.47, is below the beginning, 0.48
        (found(0.46, 0.26), "not"),  # their ends meet
        (found(0.5, 0.2), "not"),
        (found(0.0, 0.1), "not"),  # right nowhere: no gap either
        (found(0.0, 0.23), "not"),  # not shown to have risen: the intervals meet
        (found(0.0, 0.25), "cured"),
        (found(0.7, 0.2), "not"),
    ],
)
def test_the_rule(after, kind):
    verdict = judge(SHORTCUT, after)
    assert verdict.kind == kind
    assert verdict.split == "test"
    assert str(verdict) == verdict.sentence
    start = {"cured": "Cured: ", "partly": "Partly cured: ", "not": "Not cured: "}[kind]
    assert verdict.sentence.startswith(start)


def test_the_sentence_has_the_numbers():
    assert judge(SHORTCUT, found(0.006, 0.941)).sentence == (
        "Cured: in another class's surroundings the classifier is right on 94.1% of objects (before: 20.0%). "
        "The gap to other surroundings of their own class is 0.6 points (before: 50.0)."
    )
    assert "class is −1.0 points (before" in judge(SHORTCUT, found(-0.01, 0.95)).sentence
    few = judge(SHORTCUT, found(0.006, 0.941, half=0.1)).sentence
    assert few.startswith("Partly cured: ")
    assert few.endswith(" The images are too few to show that less than 5% is left.")
    advice = " More marked images, more epochs or a greater weight of the guidance leave less."
    assert judge(SHORTCUT, found(0.2, 0.6)).sentence.endswith(f"(before: 50.0).{advice}")
    assert judge(SHORTCUT, found(0.2, 0.6), marked=False).sentence.endswith("(before: 50.0).")
    assert judge(SHORTCUT, found(0.5, 0.2)).sentence.endswith("(before: 50.0).")
    assert judge(SHORTCUT, found(0.0, 0.1)).sentence.endswith("because the classifier is right less often anywhere.")


def test_where_there_was_no_shortcut():
    verdict = judge(found(0.02, 0.9), found(0.0, 0.95))
    assert verdict.kind == "nothing"
    assert verdict.sentence == (
        "Nothing to cure: before, another class's surroundings cost the classifier 2.0 points of accuracy "
        "(95% interval 0.0 to 4.0)."
    )
    assert judge(found(TOLERANCE - 0.021, 0.9), found(0.0, 0.95)).kind == "nothing"
    unclear = judge(found(0.1, 0.5, half=0.1), found(0.0, 0.9))
    assert unclear.kind == "unproven"
    assert "95% interval 0.0 to 20.0" in unclear.sentence
    assert unclear.sentence.endswith("Mark more images to tell.")


def test_the_split_with_the_largest_gap_before_counts():
    before = found(0.01, 0.5, split="balanced") | found(0.6, 0.2, split="biased") | found(0.3, 0.3, split="other")
    after = found(0.01, 0.9, split="balanced") | found(0.5, 0.25, split="biased") | found(0.0, 0.9, split="other")
    verdict = judge(before, after)
    assert (verdict.kind, verdict.split) == ("partly", "biased")
    before["biased"].values["background_gap"] = math.nan
    assert judge(before, after).split == "other"


def test_without_marked_images_there_is_no_proof():
    verdict = judge({}, {})
    assert (verdict.kind, verdict.split, verdict.warning) == ("unproven", "", "")
    assert verdict.sentence == "Not proven: no marked images were left to exchange the surroundings of."


def test_a_moved_map_is_no_proof():
    moved = {"test": 0.3}, {"test": 0.97}
    verdict = judge(SHORTCUT, found(0.49, 0.21), moved)
    assert verdict.kind == "not"
    assert verdict.warning == (
        "97% of the map lies on the object (before: 30%), but what the classifier does in other surroundings is not "
        "shown to have changed. A moved map is no proof."
    )
    assert judge(SHORTCUT, found(0.01, 0.9), moved).warning == ""
    assert judge(SHORTCUT, found(0.2, 0.6), moved).warning == ""
    assert judge(SHORTCUT, found(0.49, 0.21), ({"test": 0.3}, {"test": 0.39})).warning == ""
    assert judge(SHORTCUT, found(0.49, 0.21), ({"test": 0.97}, {"test": 0.3})).warning == ""
    assert judge(SHORTCUT, found(0.49, 0.21), ({"other": 0.1}, {"other": 0.9})).warning == ""
    assert judge({}, {}, moved).warning.startswith("97% of the map")
    assert judge(SHORTCUT, found(0.49, 0.21)).warning == ""


def alone(evidence, share, half=0.02, chance=0.1):
    """The same evidence, with how often the surroundings alone name the class."""
    for each in evidence.values():
        each.values["surroundings_only"] = share
        each.intervals["surroundings_only"] = (share - half, share + half)
        each.chance = {"surroundings_only": chance}
    return evidence


SURE = alone(found(0.5, 0.2), 0.98)


@pytest.mark.parametrize(
    ("share", "ceiling", "kind"),
    [
        (0.1, None, "cured"),
        (0.169, None, "cured"),  # from 0.149
        (0.171, None, "partly"),  # from 0.151, above 0.1 + 0.05
        (0.45, None, "partly"),
        (0.45, 0.4, "cured"),  # as much as is to be read without the cue
        (0.45, 0.37, "partly"),
        (0.16, 0.05, "partly"),
    ],
)
def test_surroundings_that_still_name_the_class_are_no_whole_cure(share, ceiling, kind):
    best = None if ceiling is None else alone(found(0.0, 0.97), ceiling)
    assert judge(SURE, alone(found(0.01, 0.95), share), ceiling=best).kind == kind
    assert judge(SURE, alone(found(0.49, 0.21), share), ceiling=best).kind == "not"


def test_the_sentence_says_what_the_surroundings_alone_still_name():
    cured, after = judge(SURE, alone(found(0.01, 0.95), 0.11)), alone(found(0.01, 0.95), 0.45)
    assert cured.sentence.endswith(
        "(before: 50.0). From the surroundings alone it names the class in 11% of images (before: 98%, guessing: 10%)."
    )
    assert judge(SURE, after).sentence.endswith(
        "in 45% of images (before: 98%, guessing: 10%). More marked images, more epochs or a greater weight of the "
        "guidance leave less."
    )
    sentence = judge(SURE, after, ceiling=alone(found(0.0, 0.977), 0.42)).sentence
    assert sentence.startswith("Cured: ")
    assert sentence.endswith(
        "(before: 98%, guessing: 10%, trained without the cue: 42%). "
        "A network trained without the cue is right on 97.7%."
    )


def test_a_ceiling_counts_where_it_was_measured():
    elsewhere = alone(found(0.0, 0.97, split="other"), 0.9)
    assert judge(SURE, alone(found(0.01, 0.95), 0.45), ceiling=elsewhere).kind == "partly"
