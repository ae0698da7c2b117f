import torch

from looksharp.studio.worth import worth_marking


def test_classes_take_turns_and_all_images_come_once():
    targets = torch.tensor([0] * 50 + [1] * 5 + [2] * 1)
    order = worth_marking(targets, count=100)
    assert sorted(order) == list(range(56))
    assert sorted(targets[order[:3]].tolist()) == [0, 1, 2]
    assert sorted(targets[order[:11]].tolist()) == [0] * 5 + [1] * 5 + [2]
    assert order == worth_marking(targets, count=100)
    assert order != worth_marking(targets, count=100, seed=1)
    assert worth_marking(targets, count=7) == order[:7]


def test_groups_take_turns_within_a_class():
    targets = torch.tensor([0] * 20 + [1] * 20)
    groups = [[0, 1, 2, 20, 21], [3, 4]]
    order = [place for place in worth_marking(targets, groups, count=40) if place < 20]
    assert order[0] in (0, 1, 2)
    assert order[1] in (3, 4)
    assert order[2] > 4 or order[2] in (0, 1, 2)
    assert {place in (0, 1, 2) for place in order[:9:3]} == {True}
    assert sorted(order) == list(range(20))


def test_images_of_several_classes_come_once_and_those_of_none_not_at_all():
    targets = torch.tensor([[1, 1, 0], [0, 1, 0], [0, 0, 0]])
    assert sorted(worth_marking(targets)) == [0, 1]


def test_nothing_to_mark():
    assert worth_marking(torch.zeros(3, 2)) == []
