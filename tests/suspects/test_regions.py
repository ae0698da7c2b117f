import pytest
import torch
from torch import nn

from looksharp.networks import SmallNet
from looksharp.suspects.regions import find_regions, pixel_evidence


def reader(side, weights=(1.0, -1.0)):
    """Classes read how much red there is anywhere, by one linear layer over all pixels: it has no map at all."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * side * side, len(weights), bias=False))
    with torch.no_grad():
        model[1].weight.zero_()
        for row, weight in enumerate(weights):
            model[1].weight[row, : side * side] = weight
    return model.eval()


def planted(side, *boxes):
    images, masks = torch.zeros(len(boxes), 3, side, side), torch.zeros(len(boxes), side, side, dtype=torch.bool)
    for place, (top, left, height, width) in enumerate(boxes):
        masks[place, top : top + height, left : left + width] = True
    images[:, 0] = masks.float()
    return images, masks


@pytest.mark.parametrize(("box", "least"), [((20, 11, 9, 9), 0.6), ((0, 39, 9, 9), 0.6), ((16, 16, 12, 15), 0.8)])
def test_a_planted_patch_is_found_but_for_its_corners(box, least):
    images, masks = planted(48, box)
    (found,) = find_regions(reader(48), images, torch.tensor([0]))
    assert not (found & ~masks[0]).any()
    assert found.sum() / masks[0].sum() > least
    top, left, height, width = box
    assert found[top + height // 2, left : left + width].all()
    assert found[top : top + height, left + width // 2].all()
    covered = torch.zeros(48, 48)  # the share of a window of 9 px that lies on the patch
    for row in range(48):
        for column in range(48):
            window = masks[0][max(row - 4, 0) : row + 5, max(column - 4, 0) : column + 5]
            covered[row, column] = window.double().mean()
    assert torch.equal(found, covered > covered.max() / 2)


def test_a_class_without_evidence_has_no_region():
    images, _ = planted(24, (3, 4, 5, 5), (10, 10, 5, 5))
    found = find_regions(reader(24, (0.0, 1.0)), images, torch.tensor([0, 1]))
    assert found.flatten(1).any(1).tolist() == [False, True]


def test_evidence_by_plain_loops():
    torch.manual_seed(0)
    model, images, classes = SmallNet(4, width=8).eval(), torch.randn(3, 3, 16, 16), torch.tensor([2, 0, 3])
    for image, label, found in zip(images, classes, pixel_evidence(model, images, classes), strict=True):
        plain = image.mean((1, 2), keepdim=True)
        total = torch.zeros_like(image)
        for point in (0.125, 0.375, 0.625, 0.875):
            between = (plain + point * (image - plain)).requires_grad_()
            model(between[None])[0, label].backward()
            total += between.grad / 4
        shares = (total * (image - plain)).sum(0).clamp(min=0)
        for row in range(16):
            for column in range(16):  # a window of 3 px
                near = shares[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
                assert float(found[row, column]) == pytest.approx(float(near.mean()), rel=1e-3, abs=1e-5)


def test_neither_the_batch_nor_gradients_change_what_is_found():
    torch.manual_seed(0)
    model, images, classes = SmallNet(4, width=8).eval(), torch.randn(5, 3, 24, 24), torch.tensor([2, 0, 3, 1, 1])
    whole = pixel_evidence(model, images, classes)
    single = [pixel_evidence(model, images[n : n + 1], classes[n : n + 1]) for n in range(5)]
    torch.testing.assert_close(torch.cat(single), whole, rtol=1e-4, atol=1e-6)
    assert all(parameter.grad is None for parameter in model.parameters())
    with torch.inference_mode():
        assert torch.equal(find_regions(model, images, classes), find_regions(model, images, classes))


def test_a_model_in_training_is_refused():
    with pytest.raises(ValueError, match="evaluation mode"):
        find_regions(SmallNet(4, width=8), torch.randn(1, 3, 16, 16), torch.tensor([0]))
