"""The way from an image's pixels to a network's input."""

import pytest
import torch
from torchvision import tv_tensors

from looksharp.data.pixels import Pixels
from looksharp.data.transform import image_transform


@pytest.mark.parametrize("cut", [{"crop_share": 0.5}, {"resize_size": (40, 60)}, {"fit": "shorter"}])
@pytest.mark.parametrize("size", [None, (8, 12)])
def test_whole_images_lose_no_border(cut, size):
    image = torch.zeros(3, 60, 40, dtype=torch.uint8)
    image[:, :30, :20], image[:, 30:, 20:] = 100, 200  # four quarters
    pixels = Pixels((16, 24), **cut).whole(size)
    height, width = size or (16, 24)
    seen = image_transform(pixels)(tv_tensors.Image(image))
    assert seen.shape == (3, height, width)
    corners = [int(seen[0, row, column]) for row in (0, -1) for column in (0, -1)]
    assert corners == [100, 0, 0, 200]
    inner = seen[0, [height // 4, 3 * height // 4]][:, [width // 4, 3 * width // 4]]
    assert inner.tolist() == [[100, 0], [0, 200]]
    edge = seen[0, 0].float()  # the quarters meet in the middle
    assert edge[: width // 2 - 1].eq(100).all()
    assert edge[width // 2 + 1 :].eq(0).all()
