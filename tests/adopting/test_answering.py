import pytest
import torch

from looksharp.adopting.answering import Answers, permutation_hint

NAMES = ["ant", "bee", "cat", "dog"]


def counts(order, right, of=30):
    """Each class answered as `order` says in a share `right`, the rest evenly among the others."""
    found = torch.full((len(order), len(order)), round(of * (1 - right) / (len(order) - 1)))
    for label, answer in enumerate(order):
        found[label, answer] = round(of * right)
    return found


def test_exchanged_classes_are_named_and_the_order_that_fits():
    said = permutation_hint(counts([0, 3, 2, 1], 0.9), NAMES)
    shares = "'bee' of the data is answered as 'dog' in 90%, 'dog' as 'bee' in 90%"
    assert said == f"predictions look permuted: {shares}; in the order --classes ant,dog,cat,bee 90% would be correct"


def test_the_order_is_that_of_the_models_outputs():
    """Output k stands for the class whose images answer it: class 0 answers as 1, 1 as 2, 2 as 3, 3 as 0."""
    said = permutation_hint(counts([1, 2, 3, 0], 0.8), NAMES)
    assert "--classes dog,ant,bee,cat 80%" in said
    assert said.count(" as '") == 3
    assert " and 1 more; " in said


@pytest.mark.parametrize("right", [0.9, 0.4, 0.25])
def test_nothing_is_said_of_classes_in_their_order(right):
    assert permutation_hint(counts([0, 1, 2, 3], right), NAMES) == ""


def test_nothing_is_said_of_a_model_that_always_answers_alike():
    found = torch.zeros(4, 4, dtype=torch.long)
    found[:, 2] = 30
    assert permutation_hint(found, NAMES) == ""


def test_many_classes_are_not_listed():
    order = list(range(30))
    order[3], order[4] = 4, 3
    found = counts(order, 1.0)
    found[5:] = 0  # no images of the others
    said = permutation_hint(found, [f"c{n}" for n in range(30)])
    assert said.endswith("in another order of --classes 100% would be correct")


def test_chance_is_said_among_the_classes_that_have_images():
    found = counts([0, 1, 2, 3], 0.25)
    found[2:] = 0
    answers = Answers(60, ("val",), 0.25, found, tuple(NAMES))
    assert answers.said == "25.0% on 60 images of val (guessing among their 2 classes: 50.0%)"
    several = Answers(60, ("val", "test", "test_night"), 0.25, found, tuple(NAMES))
    assert several.said.startswith("25.0% on 60 images of val, test and test_night (")
    assert answers.hint.startswith("that is little better than guessing")
    assert Answers(100, ("val",), 0.9, counts([0, 1, 2, 3], 0.9), tuple(NAMES)).hint == ""
