import math

import pytest
import torch

from looksharp.crf import dense_crf
from looksharp.objectives.sec_equations import Decays, boundary_loss, expansion_loss, floored, seeding_loss


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def odds():
    """Probabilities (2, 4, 3, 5) of a background and three classes."""
    return torch.randn(2, 4, 3, 5, dtype=torch.float64).softmax(1)


@pytest.fixture
def seeds():
    return (torch.rand(2, 4, 3, 5) > 0.7).double()


PRESENT = torch.tensor([[True, False, True], [False, False, False]])
DECAYS = Decays(0.9, 0.95, 0.2)


def positions(values):
    return [(row, column) for row in range(values.shape[-2]) for column in range(values.shape[-1])]


def seeding_by_loop(odds, seeds):
    losses = []
    for f, s in zip(odds, seeds, strict=True):
        chosen = [(c, u) for c in range(len(f)) for u in positions(f) if s[c][u] == 1]
        losses.append(-sum(math.log(f[c][u]) for c, u in chosen) / len(chosen))
    return torch.tensor(losses, dtype=torch.float64)


def pooled_by_loop(values, decay):
    ranked = sorted((float(values[u]) for u in positions(values)), reverse=True)
    weights = [decay**j for j in range(len(ranked))]
    return sum(w * v for w, v in zip(weights, ranked, strict=True)) / sum(weights)


def expansion_by_loop(odds, present, decays):
    losses = []
    for f, labels in zip(odds, present.tolist(), strict=True):
        there = [c for c, label in enumerate(labels) if label]
        absent = [c for c, label in enumerate(labels) if not label]
        loss = -math.log(pooled_by_loop(f[0], decays.background))
        if there:
            loss -= sum(math.log(pooled_by_loop(f[1 + c], decays.present)) for c in there) / len(there)
        if absent:
            loss -= sum(math.log(1 - pooled_by_loop(f[1 + c], decays.absent)) for c in absent) / len(absent)
        losses.append(loss)
    return torch.tensor(losses, dtype=torch.float64)


def boundary_by_loop(odds, refined):
    losses = []
    for f, r in zip(odds, refined, strict=True):
        every = positions(f)
        total = sum(float(r[c][u]) * math.log(r[c][u] / f[c][u]) for c in range(len(f)) for u in every)
        losses.append(total / len(every))
    return torch.tensor(losses, dtype=torch.float64)


def test_each_loss_against_a_loop(odds, seeds):
    torch.testing.assert_close(seeding_loss(odds, seeds), seeding_by_loop(odds, seeds))
    for decays in (DECAYS, Decays()):
        torch.testing.assert_close(expansion_loss(odds, PRESENT, decays), expansion_by_loop(odds, PRESENT, decays))
    torch.testing.assert_close(expansion_loss(odds, ~PRESENT), expansion_by_loop(odds, ~PRESENT, Decays()))
    refined = torch.randn_like(odds).softmax(1)
    torch.testing.assert_close(boundary_loss(odds, refined), boundary_by_loop(odds, refined))


def test_gradients(odds, seeds):
    odds.requires_grad_()
    assert torch.autograd.gradcheck(lambda f: seeding_loss(f, seeds), odds)
    assert torch.autograd.gradcheck(lambda f: expansion_loss(f, PRESENT, DECAYS), odds)
    refined = odds.detach().flip(1).clone()
    assert torch.autograd.gradcheck(lambda f: boundary_loss(f, refined), odds)
    assert torch.autograd.gradcheck(floored, odds)


def test_no_gradient_passes_through_what_the_crf_makes(odds):
    refined = odds.flip(1).requires_grad_()
    loss = boundary_loss(odds.requires_grad_(), refined).sum()
    loss.backward()
    assert refined.grad is None
    assert odds.grad is not None


def test_a_perfect_prediction_has_no_seeding_loss(seeds):
    seeds = torch.nn.functional.one_hot(seeds.argmax(1), 4).movedim(-1, 1).double()
    assert seeding_loss(seeds.clamp(min=1e-300), seeds).eq(0).all()
    assert (seeding_loss(floored(seeds), seeds) < 1e-3).all()
    assert (seeding_loss(floored(1 - seeds), seeds) > 5).all()


def test_an_image_without_seeds_has_no_seeding_loss(odds, seeds):
    assert seeding_loss(odds, seeds * torch.tensor([1.0, 0.0])[:, None, None, None])[1] == 0


def test_an_absent_class_everywhere_costs():
    odds = torch.full((2, 3, 4, 4), 1e-3, dtype=torch.float64)
    odds[0, 0] = odds[1, 2] = 1 - 2e-3
    present = torch.zeros(2, 2, dtype=torch.bool)
    background, other = expansion_loss(odds, present).tolist()
    assert background == pytest.approx(0, abs=0.01)
    assert other == pytest.approx(-math.log(2e-3) / 2 - math.log(1 - 1e-3) / 2 - math.log(1e-3), rel=1e-6)


def test_one_position_of_an_absent_class_costs_as_much_as_all():
    odds = torch.full((1, 2, 4, 4), 0.5, dtype=torch.float64)
    odds[0, 1] = 1e-3
    odds[0, 0] = 1 - 1e-3
    spot = odds.clone()
    spot[0, :, 1, 2] = torch.tensor([0.1, 0.9])
    absent = torch.zeros(1, 1, dtype=torch.bool)
    more = float(expansion_loss(spot, absent) - expansion_loss(odds, absent))
    assert more == pytest.approx(-math.log(0.1), abs=0.06)  # -log(1 - max), and a little less background


def test_where_the_crf_changes_nothing_there_is_no_boundary_loss(odds):
    torch.testing.assert_close(boundary_loss(odds, odds), torch.zeros(2, dtype=torch.float64))
    one_colour = torch.full((2, 3, 3, 5), 100.0, dtype=torch.float64)
    certain = floored(torch.tensor([1.0, 0, 0, 0]).double()[None, :, None, None].expand(2, 4, 3, 5))
    assert (boundary_loss(certain, floored(dense_crf(certain.log(), one_colour))) < 1e-3).all()
    assert (boundary_loss(odds, dense_crf(odds.log(), one_colour)) > 0.01).all()
