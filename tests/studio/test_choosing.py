"""Choices of images, by loops."""

import itertools

import numpy as np
import pytest

from looksharp.studio.choosing import OUTCOMES, Asked, chosen, confusions
from looksharp.studio.predictions import Answers


@pytest.fixture(params=["one class each", "several"])
def answers(request):
    """Thirty images of four classes, the last five not answered yet."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 4, 30)
    if request.param == "several":
        targets = np.eye(4, dtype=bool)[targets] | (rng.random((30, 4)) < 0.1)
    answer = rng.integers(0, 4, 30)
    loss = rng.random(30).astype(np.float32)
    answer[25:], loss[25:] = -1, np.nan
    return Answers(targets, answer, loss, rng.random(30).astype(np.float32), known=25)


def shown(answers, place):
    """The classes that an image shows."""
    if answers.targets.ndim == 1:
        return [int(answers.targets[place])]
    return [label for label in range(4) if answers.targets[place, label]]


@pytest.mark.parametrize(("label", "answer", "outcome"), [*itertools.product((None, 2), (None, 1, 2), OUTCOMES)])
def test_chosen_images(answers, label, answer, outcome):
    expected = []
    for place in range(30):
        given = answers.answer[place]
        right = given in shown(answers, place)
        if label is not None and label not in shown(answers, place):
            continue
        if answer is not None and given != answer:
            continue
        if outcome and (given < 0 or right != (outcome == "right")):
            continue
        expected.append(place)
    asked = Asked(label, answer, outcome)
    assert chosen(answers, asked).tolist() == expected
    ordered = chosen(answers, asked, answers.loss).tolist()
    known = [place for place in expected if place < 25]
    assert ordered == sorted(known, key=lambda place: -answers.loss[place]) + expected[len(known) :]


def test_confusions_and_accuracy(answers):
    counted, right = {}, 0
    for place in range(25):
        given = answers.answer[place]
        right += given in shown(answers, place)
        if given not in shown(answers, place):
            for label in shown(answers, place):
                counted[label, int(given)] = counted.get((label, int(given)), 0) + 1
    assert confusions(answers) == counted
    assert list(confusions(answers).values()) == sorted(counted.values(), reverse=True)
    assert answers.accuracy == pytest.approx(right / 25)
