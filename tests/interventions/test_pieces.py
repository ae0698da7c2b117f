import pytest
import torch
from torch.nn import functional as F

from looksharp.data.sets.synthetic import biased_digits
from looksharp.interventions.division import INTERVENTIONS, PIECES
from looksharp.interventions.examples import example_pictures
from looksharp.interventions.intervene import intervene
from looksharp.interventions.pieces import exchange_pieces
from looksharp.interventions.surroundings import feather, fill_holes, object_only, surroundings_only
from looksharp.networks import SmallNet

SIZE = (20, 24)
OWN = ((2, 3, 5, 6), (0, 0, 4, 4), (10, 12, 10, 12))
OTHER = ((9, 9, 3, 8), (4, 4, 4, 4), (1, 1, 2, 2))


def box(top, left, height, width):
    mask = torch.zeros(SIZE)
    mask[top : top + height, left : left + width] = 1
    return mask


@pytest.fixture
def pictures():
    generator = torch.Generator().manual_seed(0)
    images, others = torch.rand(2, 3, 3, *SIZE, generator=generator)
    return images, torch.stack([box(*b) for b in OWN]), others, torch.stack([box(*b) for b in OTHER])


def test_a_moved_piece_is_the_others_resized(pictures):
    """Image by image: cut out, resize, paste."""
    images, masks, others, other_masks = pictures
    found = exchange_pieces(*pictures)
    for n, ((top, left, height, width), (t, c, h, w)) in enumerate(zip(OWN, OTHER, strict=True)):
        patch = F.interpolate(others[n : n + 1, :, t : t + h, c : c + w], (height, width), mode="bilinear")[0]
        inside = found[n, :, top : top + height, left : left + width]
        torch.testing.assert_close(inside, patch, atol=1e-5, rtol=1e-5)
    away = (feather(masks) == 0).unsqueeze(1).expand_as(images)
    assert torch.equal(found[away], images[away])
    assert other_masks.sum() > 0


def test_the_edge_is_a_mixture(pictures):
    images, masks, _, _ = pictures
    found, soft = exchange_pieces(*pictures), feather(masks)
    row, column = 1, 5  # just above the first image's piece
    assert soft[0, row, column] == 0.5
    inner = found[0, :, 2, column]  # clamped to the piece: the row above repeats its first row
    torch.testing.assert_close(found[0, :, row, column], (images[0, :, row, column] + inner) / 2)


def test_what_else_takes_its_place(pictures):
    images, masks, others, other_masks = pictures
    assert torch.equal(exchange_pieces(*pictures, fill="own"), surroundings_only(images, masks))
    spread = fill_holes(others, 1 - other_masks)
    inside = masks.bool().unsqueeze(1).expand_as(images)
    assert torch.equal(exchange_pieces(*pictures, fill="spread")[inside], spread[inside])


def test_interventions_on_pieces(monkeypatch):
    """With the division by pieces, what should count is all but the piece."""
    data = biased_digits(train=1, val=1, test=24, rho=1.0)
    split = data.splits["biased"]
    split.marks = split.cues
    model = SmallNet(10, width=4).eval()
    seen = []

    class Seen(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, images):
            seen.append(images)
            return self.model(images)

    found = intervene(Seen(), split, data.pixels, division=PIECES)
    images = data.pixels.normalize(split.images)
    masks = torch.stack([split.cues.of(place)[0][1] for place in range(24)]).float()
    kept, rest = surroundings_only(images, masks), object_only(images, masks)
    for shown, expected in zip(seen[1:3], (kept, rest), strict=True):
        torch.testing.assert_close(shown, expected)
    rows = found.objects.samples
    used = (found.partners >= 0).flatten(1).all(1)
    across = found.partners[used, 1, 0]
    own = rows[used]
    swapped = exchange_pieces(images[own], masks[own], images[rows[across]], masks[rows[across]])
    torch.testing.assert_close(seen[3][1::2], swapped)
    right = (model(swapped).argmax(1) == split.targets[own]).double()
    assert found.outcomes["exchanged_across"].tolist() == right.tolist()
    place = int(found.images[0])
    example = example_pictures(split, data.pixels, found, place)
    torch.testing.assert_close(example.pictures["object_only"], kept[place])
    torch.testing.assert_close(example.pictures["exchanged_across"], swapped[own.tolist().index(place)])
    assert PIECES.measures.keys() == INTERVENTIONS.keys() == found.values.keys()
