import copy

import numpy as np
import pytest
import torch
from torch import distributed, nn
from torch.nn import functional as F

from looksharp.batch import Batch
from looksharp.objectives import GroupDRO, Guidance

GROUPS = torch.tensor([0, 2, 0, 2, 2, 0])  # of three; group 1 is not in the batch
STEP, SIZES = 0.3, [400, 25, 100]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def model():
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 4)).double()


def batch(group=GROUPS, multilabel=False):
    targets = torch.randint(2, (len(group), 4)) if multilabel else torch.randint(4, (len(group),))
    return Batch(torch.randn(len(group), 3, 2, 2, dtype=torch.float64), targets, group=group)


def part(objective):
    return objective.parts[0]


def naive(weights, batches, model, adjustment=0.0, smoothing=0.0):
    """Algorithm 1, image by image; the weights and the losses batch by batch."""
    weights, losses = list(weights), []
    for b in batches:
        members = {g: [i for i in range(len(b)) if b.group[i] == g] for g in range(len(weights))}
        mean = {}
        for g, images in members.items():
            each = []
            for i in images:
                scores = model(b.image[i : i + 1])[0]
                if b.multilabel:
                    probability = torch.sigmoid(scores)
                    right = torch.where(b.target[i] > 0, probability, 1 - probability)
                    each.append(-right.log().mean())
                else:
                    log_p = scores.log_softmax(0)
                    each.append(-(1 - smoothing) * log_p[b.target[i]] - smoothing * log_p.mean())
            if each:
                mean[g] = sum(each) / len(each)
        for g, value in mean.items():
            weights[g] *= float(torch.exp(STEP * (value.detach() + adjustment / SIZES[g] ** 0.5)))
        weights = [w / sum(weights) for w in weights]
        losses.append(sum(weights[g] * value for g, value in mean.items()))
    return weights, losses


@pytest.mark.parametrize(("adjustment", "sized"), [(0.0, True), (0.0, False), (5.0, True)])
@pytest.mark.parametrize("multilabel", [False, True])
def test_weights_and_losses_are_those_of_the_algorithm(model, multilabel, adjustment, sized):
    smoothing = 0.0 if multilabel else 0.1
    batches = [batch(group, multilabel) for group in (GROUPS, GROUPS.flip(0), torch.tensor([1, 1, 2]))]
    sizes = SIZES if sized else None
    objective = GroupDRO(STEP, adjustment, sizes, label_smoothing=smoothing)
    if not sized:
        part(objective)._grow(3)
    weights, losses = naive([1 / 3] * 3, batches, model, adjustment, smoothing)
    for b, loss in zip(batches, losses, strict=True):
        step = objective(model, b)
        torch.testing.assert_close(step.loss, loss)
        expected = torch.autograd.grad(loss, model.parameters())
        torch.testing.assert_close(torch.autograd.grad(step.loss, model.parameters()), expected)
        assert list(step.terms) == ["classification"]
    torch.testing.assert_close(part(objective).weights, torch.tensor(weights))


def test_closed_form_of_constant_losses():
    """After t steps with losses that stay, q is softmax(step_size * t * losses)."""
    scores = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, -3.0]])
    still = Batch(torch.zeros(3, 3, 1, 1), torch.tensor([0, 1, 1]), group=torch.tensor([0, 1, 2]))
    model = nn.Sequential(nn.Flatten(), nn.Linear(3, 1))
    model.forward = lambda images: scores.clone().requires_grad_()
    objective = GroupDRO(0.05, group_sizes=[1, 1, 1])
    for _ in range(20):
        objective(model, still)
    losses = np.log1p(np.exp([-2.0, -1.0, 3.0]))
    expected = np.exp(0.05 * 20 * losses) / np.exp(0.05 * 20 * losses).sum()
    np.testing.assert_allclose(part(objective).weights.numpy(), expected, rtol=1e-5)


def test_a_group_that_a_batch_lacks_keeps_its_share_of_the_others(model):
    objective = GroupDRO(STEP, 5.0, SIZES)
    objective(model, batch(torch.tensor([0, 1, 2])))
    before = part(objective).log_weights.clone()
    objective(model, batch())
    after = part(objective).log_weights
    assert after[1] == before[1]
    assert (after[[0, 2]] > before[[0, 2]]).all()


def test_no_step_makes_the_mean_over_groups(model):
    b = batch()
    objective = GroupDRO(0.0, group_sizes=[3, 0, 3])
    means = [F.cross_entropy(model(b.image[GROUPS == g]), b.target[GROUPS == g]) for g in (0, 2)]
    torch.testing.assert_close(objective(model, b).loss, sum(means) / 2)


def test_one_group_is_plain_training(model):
    b = batch(torch.zeros(5, dtype=torch.long))
    for sizes in ([5, 0], [5], None):
        objective = GroupDRO(STEP, group_sizes=sizes)
        for _ in range(2):
            torch.testing.assert_close(objective(model, b).loss, F.cross_entropy(model(b.image), b.target))
        assert part(objective).weights.tolist() == [1.0, 0.0][: len(part(objective).weights)]


def test_evaluation_leaves_the_weights(model):
    objective = GroupDRO(STEP, group_sizes=SIZES)
    objective(model, batch())
    before = part(objective).weights
    objective(model.eval(), batch())
    with torch.no_grad():
        objective(model.train(), batch())
    assert torch.equal(part(objective).weights, before)


def test_groups_are_taken_up_as_they_come_also_in_evaluation(model):
    grown, whole = GroupDRO(STEP), GroupDRO(STEP, group_sizes=SIZES)
    few, all_ = batch(torch.tensor([0, 1, 0])), batch(torch.tensor([2, 0, 1]))
    with torch.inference_mode():
        grown(model, few)
    assert len(part(grown).weights) == 2
    for b in (few, all_, few):
        grown(model, b)
        whole(model, b)
    torch.testing.assert_close(part(grown).weights, part(whole).weights)


@pytest.mark.parametrize("sizes", [None, SIZES])
def test_weights_are_saved_with_a_checkpoint(model, sizes):
    objective, resumed = GroupDRO(STEP, group_sizes=sizes), GroupDRO(STEP, group_sizes=sizes)
    objective(model, batch())
    resumed.load_state_dict(copy.deepcopy(objective.state_dict()))
    again = batch()
    torch.testing.assert_close(resumed(model, again).loss, objective(model, again).loss)
    assert torch.equal(part(resumed).weights, part(objective).weights)


def test_processes_together_do_what_one_does_with_all_their_images(model, monkeypatch):
    shares = [batch(torch.tensor([0, 0, 2])), batch(torch.tensor([2, 2, 2, 0]))]
    whole = Batch(*(torch.cat([getattr(s, name) for s in shares]) for name in ("image", "target")))
    whole = Batch(whole.image, whole.target, group=torch.cat([s.group for s in shares]))
    alone = GroupDRO(STEP, 5.0, SIZES)
    expected = torch.autograd.grad(alone(model, whole).loss, model.parameters())

    told = []  # what each process gives to the sum
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(distributed, "all_reduce", lambda value: told.append(value.clone()))
    for share in shares:
        GroupDRO(STEP, 5.0, SIZES)(model, share)
    monkeypatch.setattr(distributed, "all_reduce", lambda value: value.copy_(told[0] + told[1]))
    gradients = []
    for share in shares:
        objective = GroupDRO(STEP, 5.0, SIZES)
        gradients.append(torch.autograd.grad(objective(model, share).loss, model.parameters()))
        torch.testing.assert_close(part(objective).weights, part(alone).weights)
    averaged = tuple((a + b) / 2 for a, b in zip(*gradients, strict=True))
    torch.testing.assert_close(averaged, expected)


def test_it_raises_the_worst_group_where_plain_training_would_give_it_up():
    """Two groups that one linear unit cannot both serve: 90 images say 1, 10 say 0."""
    images, group = torch.ones(100, 3, 1, 1), (torch.arange(100) >= 90).long()
    data = Batch(images, 1 - group, group=group)
    chances = {}
    for name, objective in {"robust": GroupDRO(0.1), "plain": GroupDRO(0.0)}.items():
        model = nn.Sequential(nn.Flatten(), nn.Linear(3, 2, bias=False))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        for _ in range(400):
            optimizer.zero_grad()
            loss = objective(model, data).loss if name == "robust" else F.cross_entropy(model(images), data.target)
            loss.backward()
            optimizer.step()
        chances[name] = model(images[:1]).softmax(1)[0, 0].item()  # of the few
    assert chances["plain"] == pytest.approx(0.1, abs=0.02)
    assert chances["robust"] == pytest.approx(0.5, abs=0.05)


def test_it_combines_with_guidance(model):
    assert [type(p).__name__ for p in (GroupDRO() + Guidance("rrr")).parts] == ["GroupDRO", "RightForTheRightReasons"]


def test_groups_must_be_known(model):
    b = batch()
    with pytest.raises(
        ValueError, match=r"^group_dro needs the group of every image, but gr.*groups\.csv \(columns path, gr"
    ):
        GroupDRO()(model, (b.image, b.target))


@pytest.mark.parametrize(
    ("sizes", "group", "message"),
    [
        ([2, 2], [0, 1, 2], r"^groups must be 0 to 1 and of those .*; got \[0, 1, 2\]$"),
        ([2, 2], [0, -1, 1], r"^groups must be 0 to 1 and of those .*; got \[-1, 0, 1\]$"),
        ([2, 0], [0, 1, 0], r"^groups must be 0 to 1 and of those that have training images .*; got \[0, 1\]$"),
        (None, [0, -1, 0], r"^groups must be 0 to 0 and of those .*; got \[-1, 0\]$"),
    ],
)
def test_groups_that_cannot_be(model, sizes, group, message):
    with pytest.raises(ValueError, match=message):
        GroupDRO(group_sizes=sizes)(model, batch(torch.tensor(group)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step_size": -1.0}, r"^step_size must be a number >= 0; got -1.0$"),
        ({"adjustment": float("nan"), "group_sizes": [1]}, r"^adjustment must be a finite number; got nan$"),
        ({"adjustment": 2.0}, r"^adjustment 2 needs the groups' numbers of training images: give group_sizes$"),
        ({"group_sizes": [0, 0]}, r"^group_sizes must be the groups' numbers of training images; got \[0, 0\]$"),
        ({"group_sizes": []}, r"^group_sizes must be the groups' numbers of training images; got \[\]$"),
        ({"group_sizes": [2, -1]}, r"^group_sizes must be .*; got \[2, -1\]$"),
    ],
)
def test_options_that_cannot_be(model, options, message):
    with pytest.raises(ValueError, match=message):
        GroupDRO(**options)(model, batch())


def test_targets_are_checked(model):
    b = batch()
    with pytest.raises(ValueError, match=r"^targets must be 0 to 3 for 4 logits; got"):
        GroupDRO()(model, Batch(b.image, b.target + 4, group=b.group))
