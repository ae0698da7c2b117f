import math

import pytest
import torch
from torch import nn

from looksharp.data.split import Pixels
from looksharp.data.splits.memory import TensorSplit
from looksharp.evaluation import evaluate
from looksharp.marks.marks import Marks


class Sees(nn.Module):
    """A classifier whose last map of class c is the c-th channel of the image."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 3, 1, bias=False)
        self.maps = nn.Conv2d(3, 3, 1, bias=False)
        self.head = nn.Linear(3, 3, bias=False)
        with torch.no_grad():
            for layer in (self.stem, self.maps):
                layer.weight.copy_(torch.eye(3)[:, :, None, None])
            self.head.weight.copy_(torch.eye(3))

    def forward(self, images):
        return self.head(self.maps(nn.functional.max_pool2d(self.stem(images), 1)).mean((2, 3)))


@pytest.fixture
def split():
    """Two images: one of class 0, whose map is the mask; one of classes 1 and 2, of whose masks half is seen."""
    images, masks = torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.zeros(3, 8, 8, dtype=torch.bool)
    masks[0, :4] = masks[1, :, :4] = masks[2, :, 6:] = True
    images[0, 0, :4] = 255
    images[1, 1, :4, :4] = 255
    images[1, 2, :, 6:] = 255
    targets = torch.tensor([[1.0, 0, 0], [0, 1, 1]])
    return TensorSplit(targets=targets, marks=Marks([0, 1, 1], [0, 1, 2], masks), images=images)


PIXELS = Pixels((8, 8), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def test_a_classifier_is_measured_by_its_maps(split):
    found = evaluate(Sees().eval(), split, PIXELS, suites=["segmentation"], layers=["stem", "maps"])
    background = (32 + 16) / (32 + 16 + 16)  # half of class 1 is taken for it
    assert found.tables["per_class"]["iou"] == pytest.approx([1.0, 0.5, 1.0])
    assert found.values["background_iou"] == pytest.approx(background)
    assert found.values["miou"] == pytest.approx((background + 1 + 0.5 + 1) / 4)
    assert found.per_image["miou"].tolist() == pytest.approx([1.0, (16 / 32 + 0.5 + 1) / 3])


def test_images_without_masks_do_not_count(split):
    split.marks = split.marks.restricted([0])
    found = evaluate(Sees().eval(), split, PIXELS, suites=["segmentation"], layers=["stem", "maps"])
    assert found.values["miou"] == 1
    assert math.isnan(found.per_image["miou"][1])
    split.marks = None
    assert evaluate(Sees().eval(), split, PIXELS, suites=["segmentation"], layers=["stem", "maps"]).values == {}
