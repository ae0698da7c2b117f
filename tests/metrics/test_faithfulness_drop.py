import math

import numpy as np
import pytest
import torch
from pytorch_grad_cam.metrics.cam_mult_image import DropInConfidence, IncreaseInConfidence
from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget
from torch import nn
from torch.nn import functional as F

from looksharp.metrics.faithfulness import average_drop


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.features = nn.Conv2d(3, 6, 3, 2)
        self.head = nn.Linear(6, 5)

    def forward(self, images):
        return self.head(self.features(images).relu().mean((-2, -1))) * 9


class Brightness(nn.Module):
    """Class 1 is as probable as the mean of the pixels, which are in [0, 1]."""

    def forward(self, images):
        share = images.mean((1, 2, 3))
        return torch.stack([1 - share, share], 1).log()


def samples(count=9):
    torch.manual_seed(0)
    return torch.randn(count, 3, 14, 17), torch.rand(count, 14, 17).pow(3), torch.randint(0, 5, (count,))


def test_by_hand():
    images = torch.zeros(4, 1, 2, 2)
    images[:, :, 0] = 0.8  # the mean is 0.4
    maps = torch.tensor([[[3.0, 3], [0, 0]], [[7, 0], [0, 7]], [[1, 1], [1, 1]], [[4, 2], [-9, 4]]])
    model = Brightness().eval()
    found = average_drop(model, images, maps, torch.ones(4, dtype=torch.long))
    # All of what is bright is shown; half of it; all; and all of one pixel with half of the other.
    assert found.drop.tolist() == pytest.approx([0, 50, 0, 25], abs=1e-5)
    assert found.increase.tolist() == [0, 0, 0, 0]
    found = average_drop(model, images, maps, torch.zeros(4, dtype=torch.long))  # 0.6 before, darker is better
    assert found.drop.tolist() == [0, 0, 0, 0]
    assert found.increase.tolist() == [0, 100, 0, 100]
    found = average_drop(model, images, maps, torch.ones(4, dtype=torch.long), baseline=0.2)
    # 0.4 before; 0.2 instead of 0 in the dark half; in one dark and one bright pixel; nowhere; .5 less of it at two
    assert found.drop.tolist() == pytest.approx([0, 100 * 0.1 / 0.4, 0, 100 * 0.025 / 0.4], abs=1e-4)
    assert found.increase.tolist() == [100, 0, 0, 0]


@torch.no_grad()
def test_it_is_pytorch_grad_cams():
    images, maps, classes = samples()
    model = Small().eval()
    maps /= maps.amax((-2, -1), keepdim=True)  # which it does not
    targets = [ClassifierOutputSoftmaxTarget(c) for c in classes.tolist()]
    before = model(images).softmax(1).gather(1, classes[:, None])[:, 0].numpy()
    found = average_drop(model, images, maps, classes)
    drop = DropInConfidence()(images, maps.numpy(), targets, model)
    assert 0 < np.count_nonzero(drop) < len(drop)
    np.testing.assert_allclose(found.drop.numpy(), 100 * drop / before, rtol=1e-4, atol=1e-4)
    increase = IncreaseInConfidence()(images, maps.numpy(), targets, model)
    np.testing.assert_array_equal(found.increase.numpy(), 100 * increase)


@torch.no_grad()
def test_maps_are_resized_then_scaled():
    images, _, classes = samples()
    model, maps = Small().eval(), torch.randn(9, 4, 3)
    for sigmoid in (False, True):
        found = average_drop(model, images, 30 * maps, classes, multilabel=sigmoid)
        for i in range(9):
            large = F.interpolate(maps[i : i + 1, None].double(), (14, 17), mode="bilinear").relu()
            shown = images[i : i + 1] * (large / large.max()).float()
            before, after = (
                (logits.sigmoid() if sigmoid else logits.softmax(1))[0, classes[i]].item()
                for logits in (model(images[i : i + 1]), model(shown))
            )
            assert found.drop[i].item() == pytest.approx(100 * max(before - after, 0) / before, rel=1e-3, abs=1e-3)
            assert found.increase[i].item() == 100 * (after > before)


def test_maps_that_show_nothing_are_nan():
    images, maps, classes = samples()
    maps[1], maps[2], maps[3], maps[4] = 0, -maps[2], math.nan, 5
    found = average_drop(Small().eval(), images, maps, classes)
    undefined = [False, True, True, True, False, False, False, False, False]
    assert found.drop.isnan().tolist() == found.increase.isnan().tolist() == undefined
    assert found.drop[4].item() == pytest.approx(0, abs=1e-3)  # the same everywhere: all of the image is shown


def test_rounding_is_no_increase():
    images, _, classes = samples(400)
    found = average_drop(Small().eval(), images, torch.ones(400, 1, 1), classes, batch_size=7)
    assert (found.increase == 0).all()


def test_a_class_without_probability_has_none_to_lose():
    found = average_drop(
        Brightness().eval(), torch.zeros(1, 1, 2, 2), torch.ones(1, 2, 2), torch.ones(1, dtype=torch.long)
    )
    assert found.drop.isnan().all()
    assert found.increase.isnan().all()


def test_cost_and_chunks():
    images, maps, classes = samples()
    model, sizes = Small().eval(), []
    model.register_forward_hook(lambda module, inputs, output: sizes.append(len(inputs[0])))
    whole = average_drop(model, images, maps, classes)
    assert sizes == [18]  # two for each image
    sizes.clear()
    found = average_drop(model, images, maps, classes, batch_size=4)
    assert sizes == [4, 4, 4, 4, 2]
    torch.testing.assert_close(found, whole)
    assert average_drop(model, images[:0], maps[:0], classes[:0]).drop.shape == (0,)


def test_messages():
    images, maps, classes = samples()
    with pytest.raises(ValueError, match="maps must be one for each image"):
        average_drop(Small().eval(), images, maps[:3], classes)
    with pytest.raises(ValueError, match="classes must lie in 0 to 4 for 5 logits; got -1 to -1"):
        average_drop(Small().eval(), images, maps, torch.full((9,), -1))
    with pytest.raises(ValueError, match="model must be in eval mode"):
        average_drop(Small(), images, maps, classes)
