import numpy as np
import pytest
import torch
from torch import nn

from looksharp.data.split import Pixels
from looksharp.data.transform import image_transform
from looksharp.studio.proposals import LEVELS, Proposal, find_proposal
from looksharp.suspects.regions import find_regions


class Corner(nn.Module):
    """Reads the red of the upper left quarter as class 1."""

    def forward(self, images):
        height, width = images.shape[-2] // 2, images.shape[-1] // 2
        score = images[:, 0, :height, :width].mean((1, 2))
        return torch.stack([-score, score], 1)


def test_the_proposal_is_the_region_that_suspects_finds():
    torch.manual_seed(0)
    image, pixels, model = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8), Pixels((32, 32)), Corner().eval()
    found = find_proposal(model, image, 1, pixels).mask()
    seen = pixels.normalize(image_transform(pixels)(image)[None])
    np.testing.assert_array_equal(found, find_regions(model, seen, torch.tensor([1]))[0].numpy())
    assert found[:16, :16].sum() > 0.9 * found.sum() > 0


def test_a_region_lies_in_the_pixels_of_a_file_of_other_size_and_shape():
    """The middle of a wide image is what the network sees; the rest is in no proposal."""
    evidence = np.zeros((8, 8), np.float32)
    evidence[2:4, 5:8] = 1
    found = Proposal(evidence, Pixels((8, 8)), (16, 40)).mask()
    expected = np.zeros((16, 40), bool)
    expected[4:8, 12 + 10 : 12 + 16] = True  # twice the size, from the 12th column on
    np.testing.assert_array_equal(found, expected)


def test_shrinking_keeps_less_each_time():
    evidence = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    masks = [Proposal(evidence, Pixels((8, 8)), (8, 8)).mask(shrunk) for shrunk in range(len(LEVELS))]
    assert [int(mask.sum()) for mask in masks] == [int((evidence > level).sum()) for level in LEVELS]


def test_no_evidence_is_an_empty_region():
    assert not Proposal(np.zeros((8, 8), np.float32), Pixels((8, 8)), (8, 8)).mask().any()


@pytest.mark.parametrize("fit", ["crop", "resize", "shorter"])
def test_every_way_to_the_network_leads_back(fit):
    """A bright square in the file is where the network sees it."""
    pixels, size = Pixels((16, 16), fit=fit), (64, 48)
    square = np.zeros(size, bool)
    square[24:40, 12:36] = True
    image = torch.from_numpy(square).byte().mul(255).expand(3, -1, -1)
    seen = image_transform(pixels)(image)[0].float().numpy() / 255
    back = Proposal(seen, pixels, size).mask()
    assert (back & square).sum() / (back | square).sum() > 0.8
