import pytest
import torch
from torch.nn import functional as F

from looksharp.attention.recording import record
from looksharp.batch import Batch, BatchMarks
from looksharp.crf import CRFKernels, dense_crf
from looksharp.data.split import Pixels
from looksharp.networks import LargeFOV, SmallNet
from looksharp.networks.large_fov import background_and_classes
from looksharp.networks.rank_pooling import decay_at
from looksharp.objectives import SEC
from looksharp.objectives.sec import seeds_on_grid
from looksharp.objectives.sec_equations import Decays, boundary_loss, expansion_loss, floored, seeding_loss


@pytest.fixture
def network():
    torch.manual_seed(0)
    return LargeFOV(SmallNet(3), image_size=48, stride=2, width=16).eval()


@pytest.fixture
def batch():
    """Two images: one with seeds of class 2 and of the background, one without any."""
    torch.manual_seed(0)
    masks = torch.zeros(2, 48, 48)
    masks[0, 4:20, 8:30], masks[1, 30:] = 1, 1
    marks = BatchMarks(torch.tensor([0, 0]), torch.tensor([2, 3]), masks)
    return Batch(torch.randn(2, 3, 48, 48), torch.tensor([[1, 0, 1], [0, 1, 0]]), marks)


def test_its_terms_are_the_equations(network, batch):
    part, pixels = SEC(crf_scale=6.0), Pixels((48, 48), (0.4, 0.4, 0.4), (0.25, 0.25, 0.25))
    part.prepare(None, pixels, 0)
    step = part(network, batch)
    with record(network, ["scores"]) as features:
        network(batch.image)
    odds = floored(background_and_classes(features["scores"]))
    seeds = seeds_on_grid(batch.marks, odds)
    decays = Decays(*(decay_at(decay, 24 * 24) for decay in (0.996, 0.999, 0.0)))
    colours = F.interpolate(batch.image, (24, 24), mode="bilinear", antialias=True) * 0.25 + 0.4
    kernels = CRFKernels(alpha=80 / 6 * 24 / 41, gamma=3 / 6 * 24 / 41)
    refined = floored(dense_crf(odds.log(), colours * 255, kernels))
    expected = {
        "seeding": seeding_loss(odds, seeds).mean(),
        "expansion": expansion_loss(odds, batch.target > 0, decays).mean(),
        "boundary": boundary_loss(odds, refined).mean(),
    }
    torch.testing.assert_close(step.terms, {name: value.detach() for name, value in expected.items()})
    torch.testing.assert_close(step.loss, sum(expected.values()))
    torch.testing.assert_close(step.maps["scores"], background_and_classes(features["scores"])[:, 1:].detach())


def test_weights(network, batch):
    alone = SEC(seeding=2.0, expansion=0.0, boundary=0.0)(network, batch)
    torch.testing.assert_close(alone.loss.detach(), 2 * alone.terms["seeding"])
    assert "boundary" not in alone.terms  # no CRF is run


def test_seeds_are_read_at_the_middle_of_each_position(batch):
    seeds = seeds_on_grid(batch.marks, torch.zeros(2, 4, 12, 12))
    expected = torch.zeros(2, 12, 12)
    middles = torch.arange(12) * 4 + 2
    for row, y in enumerate(middles):
        for column, x in enumerate(middles):
            expected[0, row, column] = 4 <= y < 20 and 8 <= x < 30
            expected[1, row, column] = y >= 30
    torch.testing.assert_close(seeds[0, [3, 0]], expected)  # class 2, and the background
    assert seeds[0, 1:3].eq(0).all()
    assert seeds[1].eq(0).all()
    assert seeds_on_grid(None, torch.zeros(2, 4, 12, 12)).eq(0).all()


def test_it_learns_what_seeds_show(batch):
    """A few steps on one image: seeds become what is predicted."""
    torch.manual_seed(0)
    network = LargeFOV(SmallNet(3), image_size=48, stride=2, width=16)
    optimizer = torch.optim.AdamW(network.parameters(), 0.01)
    part, losses = SEC(boundary=0.1), []
    for _ in range(30):
        optimizer.zero_grad()
        step = part(network, batch)
        step.loss.backward()
        optimizer.step()
        losses.append(float(step.terms["seeding"]))
    assert losses[-1] < 0.2 * losses[0]


def test_seeds_of_a_class_that_is_not_there_are_refused(batch):
    marks = BatchMarks(torch.tensor([0]), torch.tensor([4]), torch.ones(1, 4, 4))
    with pytest.raises(ValueError, match=r"^seeds must be of classes 0 to 3; got 4$"):
        seeds_on_grid(marks, torch.zeros(2, 4, 12, 12))


def test_a_network_that_scores_no_positions_is_refused(batch):
    with pytest.raises(ValueError, match=r"^SEC needs a network that scores every position, such as --architecture"):
        SEC()(SmallNet(3), batch)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"present": 1.5}, "^present must be 0 to 1; got 1.5$"),
        ({"absent": -0.1}, "^absent must be 0 to 1; got -0.1$"),
        ({"crf_scale": 0.0}, "^crf_scale must be above 0; got 0$"),
    ],
)
def test_settings_that_make_no_sense_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        SEC(**setting)
