import pytest
import torch

from looksharp.segmentation.seed_rule import background_seeds, seed_labels


def by_loop(maps, classes, background, threshold):
    """The rule, pixel by pixel."""
    sizes = [int((m > threshold * m.max()).sum()) for m in maps]
    labels = torch.full(maps.shape[1:], 255, dtype=torch.uint8)
    for row in range(maps.shape[1]):
        for column in range(maps.shape[2]):
            claims = [k for k, m in enumerate(maps) if m[row, column] > threshold * m.max()]
            if claims:
                labels[row, column] = 1 + classes[min(claims, key=lambda k: sizes[k])]
            elif background[row, column]:
                labels[row, column] = 0
    return labels


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.8])
def test_against_a_loop(threshold):
    maps, background = torch.rand(3, 9, 7).relu() ** 3, torch.rand(9, 7) < 0.3
    found = seed_labels(maps, [5, 0, 3], background, threshold=threshold)
    assert torch.equal(found, by_loop(maps, [5, 0, 3], background, threshold))


def test_a_map_of_zeros_seeds_nothing():
    assert seed_labels(torch.zeros(1, 2, 2), [3]).eq(255).all()


def test_the_lowest_tenth_is_background():
    saliency = torch.randperm(100).view(10, 10).float()
    assert torch.equal(background_seeds(saliency), saliency < 10)
    assert background_seeds(saliency, 0.25).sum() == 25
    assert not background_seeds(saliency, 0).any()


def test_what_is_as_low_is_background_too():
    saliency = torch.tensor([[0.0, 0, 0, 1, 2, 3, 4, 5, 6, 7]])
    assert background_seeds(saliency).tolist() == [[True] * 3 + [False] * 7]
    assert not background_seeds(torch.ones(3, 3)).any()


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match=r"^threshold must be at least 0 and below 1; got 1$"):
        seed_labels(torch.rand(1, 2, 2), [0], threshold=1)
    with pytest.raises(ValueError, match=r"^classes must be one for each map; got 2 for 1 maps$"):
        seed_labels(torch.rand(1, 2, 2), [0, 1])
    with pytest.raises(ValueError, match=r"^share must be at least 0 and below 1; got -1$"):
        background_seeds(torch.rand(2, 2), -1)
