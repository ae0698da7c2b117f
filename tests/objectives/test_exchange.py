import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from looksharp.batch import Batch, BatchMarks
from looksharp.interventions.surroundings import exchange_surroundings, surroundings_only
from looksharp.objectives import GAIN, Agreement, BackgroundExchange, Classification, GroupDRO
from looksharp.objectives import Guidance as GuidancePart
from looksharp.objectives.base import Forward
from looksharp.objectives.exchange import disagreement, exchange_partners, marked_objects, surroundings_disagree

SIZE = 12


class Net(nn.Module):
    """No BatchNorm: every image on its own."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU())
        self.head = nn.Linear(4, 3)

    def forward(self, images):
        return self.head(self.features(images).mean((2, 3)))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def box(top, left, side=4):
    mask = torch.zeros(SIZE, SIZE)
    mask[top : top + side, left : left + side] = 1
    return mask


@pytest.fixture
def batch():
    """Images 1, 2 and 4 of six are guided, 4 by two masks and 2 also for a class that it does not show."""
    guidance = BatchMarks(
        torch.tensor([4, 1, 2, 4, 2]),
        torch.tensor([2, 0, 1, 2, 0]),
        torch.stack([box(0, 0), box(2, 2), box(4, 4), box(0, 6), box(8, 8)]),
    )
    return Batch(torch.rand(6, 3, SIZE, SIZE), torch.tensor([0, 0, 1, 1, 2, 2]), guidance)


# Partners --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("counts", [(1, 1), (3, 3, 3), (5, 2, 3), (8, 8), (1, 2, 1), (16, 8, 5, 3)])
def test_partners_are_of_another_class(counts):
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))[torch.randperm(sum(counts))]
    partners = exchange_partners(labels)
    assert sorted(partners.tolist()) == list(range(len(labels)))
    assert (labels[partners] != labels).all()


def test_a_class_of_more_than_half_finds_as_many_others_as_there_are():
    labels = torch.tensor([0] * 6 + [1, 2])
    partners = exchange_partners(labels)
    assert (partners != torch.arange(8)).all()
    assert (labels[partners] != labels).sum() == 4  # two of the six, and the two others


def test_one_class_is_exchanged_within_itself():
    partners = exchange_partners(torch.zeros(5, dtype=torch.long))
    assert sorted(partners.tolist()) == list(range(5))
    assert (partners != torch.arange(5)).all()


def test_partners_are_drawn_at_random():
    labels = torch.arange(4).repeat(8)
    assert len({tuple(exchange_partners(labels).tolist()) for _ in range(5)}) == 5


def test_partners_of_none():
    assert exchange_partners(torch.zeros(0, dtype=torch.long)).shape == (0,)


# Disagreement ----------------------------------------------------------------------------------------------------


def test_disagreement_is_the_divergence_both_ways():
    a, b = torch.randn(2, 5, 4, dtype=torch.double)
    forth = F.kl_div(b.log_softmax(1), a.log_softmax(1), reduction="none", log_target=True).sum(1)
    back = F.kl_div(a.log_softmax(1), b.log_softmax(1), reduction="none", log_target=True).sum(1)
    torch.testing.assert_close(disagreement(a, b), forth + back)
    torch.testing.assert_close(disagreement(a, a + 3), torch.zeros(5, dtype=torch.double))


def test_disagreement_of_several_labels_is_that_of_coins():
    a, b = torch.randn(2, 5, 4, dtype=torch.double)
    present = torch.tensor([[1, 0, 0, 1], [1, 1, 1, 1], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1]])
    p, q = torch.distributions.Bernoulli(logits=a), torch.distributions.Bernoulli(logits=b)
    both = torch.distributions.kl_divergence(p, q) + torch.distributions.kl_divergence(q, p)
    wanted = [float(row[here.bool()].mean()) if here.any() else 0.0 for row, here in zip(both, present, strict=True)]
    assert disagreement(a, b, present).tolist() == pytest.approx(wanted)


@pytest.mark.parametrize("several", [False, True])
def test_disagreement_by_gradcheck(several):
    a, b = (torch.randn(3, 4, dtype=torch.double, requires_grad=True) for _ in range(2))
    present = torch.tensor([[1, 0, 0, 1], [1, 1, 1, 1], [0, 0, 0, 0]]) if several else None
    assert torch.autograd.gradcheck(lambda a, b: disagreement(a, b, present), (a, b))


def test_disagreement_of_sure_predictions_is_finite():
    a = torch.tensor([[1e4, 0.0]], requires_grad=True)
    value = disagreement(a, torch.tensor([[0.0, 1e4]]))
    value.sum().backward()
    assert value.isfinite().all()
    assert a.grad.isfinite().all()


# Which objects ---------------------------------------------------------------------------------------------------


def test_masks_of_the_true_class_are_united(batch):
    samples, masks, targets = marked_objects(batch)
    assert samples.tolist() == [1, 2, 4]
    assert targets.tolist() == [0, 1, 2]
    torch.testing.assert_close(masks, torch.stack([box(2, 2), box(4, 4), box(0, 0) + box(0, 6)]))


def test_of_several_labels_those_with_a_mask_remain(batch):
    target = torch.zeros(6, 3)
    target[4] = torch.tensor([0, 1, 1])
    target[2] = torch.tensor([1, 1, 1])
    samples, masks, targets = marked_objects(Batch(batch.image, target, batch.marks))
    assert samples.tolist() == [2, 4]
    assert targets.tolist() == [[1, 1, 0], [0, 0, 1]]
    torch.testing.assert_close(masks[0], box(4, 4) + box(8, 8))


def test_what_covers_nothing_or_everything_is_left_out(batch):
    masks = batch.marks.mask.clone()
    masks[1], masks[2] = 0, 1
    guidance = BatchMarks(batch.marks.sample, batch.marks.label, masks)
    assert marked_objects(Batch(batch.image, batch.target, guidance))[0].tolist() == [4]


# The part --------------------------------------------------------------------------------------------------------


def test_the_copies_are_classified_like_other_images(batch):
    model = Net()
    torch.manual_seed(7)
    step = (Classification() + BackgroundExchange())(model, batch)
    torch.manual_seed(7)
    samples, masks, targets = marked_objects(batch)
    partners = exchange_partners(targets)
    images = batch.image[samples]
    copies = exchange_surroundings(images, masks, images[partners], masks[partners])
    logits = model(torch.cat([batch.image, copies]))
    torch.testing.assert_close(step.loss, F.cross_entropy(logits, torch.cat([batch.target, targets])))
    torch.testing.assert_close(step.logits, logits[:6])  # those of the caller's images alone
    assert list(step.terms) == ["classification"]


def test_agreement_compares_each_copy_with_its_original(batch):
    model = Net()
    torch.manual_seed(7)
    plain = (Classification() + BackgroundExchange())(model, batch)
    torch.manual_seed(7)
    step = (Classification() + Agreement(0.5, surroundings=0))(model, batch)
    torch.manual_seed(7)
    extended = BackgroundExchange().extend(batch)
    logits = model(extended.image)
    wanted = disagreement(logits[[1, 2, 4]], logits[6:]).mean()
    assert wanted > 0
    torch.testing.assert_close(step.terms["agreement"], wanted.detach())
    torch.testing.assert_close(step.loss, plain.loss + 0.5 * wanted)


def test_a_network_blind_to_surroundings_agrees(batch):
    """Images that are black but for the object are all in the same surroundings."""
    inside = torch.zeros(6, 1, SIZE, SIZE)
    inside[[1, 2, 4], 0] = torch.stack([box(2, 2), box(4, 4), box(0, 0)])
    guidance = BatchMarks(torch.tensor([1, 2, 4]), torch.tensor([0, 1, 2]), inside[[1, 2, 4], 0])
    dark = Batch(batch.image * inside, batch.target, guidance)
    step = (Classification() + Agreement(1.0))(Net(), dark)
    assert float(step.terms["agreement"]) == pytest.approx(0, abs=1e-9)
    assert float(step.terms["surroundings"]) == pytest.approx(0, abs=1e-9)


def test_without_guidance_nothing_is_added(batch):
    model = Net()
    bare = Batch(batch.image, batch.target)
    step = (Classification() + Agreement(1.0))(model, bare)
    assert step.terms["agreement"] == step.terms["surroundings"] == 0
    torch.testing.assert_close(step.loss, F.cross_entropy(model(bare.image), bare.target))


def test_one_guided_image_has_nothing_to_exchange_with(batch):
    guidance = BatchMarks(torch.tensor([1]), torch.tensor([0]), box(2, 2)[None])
    lone = Batch(batch.image, batch.target, guidance)
    assert BackgroundExchange().extend(lone) is lone
    extended = BackgroundExchange(backgrounds=torch.zeros(2, 3, SIZE, SIZE)).extend(lone)
    assert extended.copies.tolist() == [1]


def test_backgrounds_of_ones_own(batch):
    grey = torch.full((1, 3, SIZE, SIZE), 0.25)
    extended = BackgroundExchange(backgrounds=grey).extend(batch)
    assert extended.copies.tolist() == [1, 2, 4]
    torch.testing.assert_close(extended.image[6][:, 2:6, 2:6], batch.image[1][:, 2:6, 2:6])
    torch.testing.assert_close(extended.image[6][:, 8:, 8:], torch.full((3, 4, 4), 0.25))


def test_groups_come_along(batch):
    grouped = Batch(batch.image, batch.target, batch.marks, torch.tensor([0, 1, 0, 1, 1, 0]))
    assert BackgroundExchange().extend(grouped).group[6:].tolist() == [1, 0, 1]


def test_combines_with_every_objective(batch):
    for objective in (GAIN(), GroupDRO()):
        grouped = Batch(batch.image, batch.target, batch.marks, torch.tensor([0, 1, 0, 1, 1, 0]))
        step = (objective + Agreement(1.0) + GuidancePart("contrast"))(Net(), grouped)
        step.loss.backward()
        assert {"agreement", "guidance"} < set(step.terms)
        assert all(len(maps) == 6 for maps in step.maps.values())


def test_training_with_agreement_makes_the_surroundings_matter_less(batch):
    """Descending on the term alone brings the predictions for image and copy together."""
    model, part = Net(), Agreement(1.0)
    extended = part.extend(batch)

    def apart(network):
        logits = network(extended.image)
        return disagreement(logits[extended.copies], logits[6:]).mean()

    before, trained = apart(model).item(), copy.deepcopy(model)
    optimizer = torch.optim.Adam(trained.parameters(), 0.02)
    for _ in range(50):
        optimizer.zero_grad()
        apart(trained).backward()
        optimizer.step()
    assert apart(trained).item() < before / 2


# Surroundings alone ----------------------------------------------------------------------------------------------


class Normalised(Net):
    def __init__(self):
        super().__init__()
        self.features.insert(1, nn.BatchNorm2d(4))


def of(model, batch):
    return Forward(model, batch, None, torch.zeros(len(batch), 3), None)


def two(batch, places=(1, 2)):
    """The same images, two of them marked."""
    marks = BatchMarks(torch.tensor(places), batch.target[list(places)], torch.stack([box(2, 2), box(4, 4)]))
    return Batch(batch.image, batch.target, marks)


def divergence_both_ways(a, b):
    p, q = (torch.distributions.Categorical(logits=logits) for logits in (a, b))
    return torch.distributions.kl_divergence(p, q) + torch.distributions.kl_divergence(q, p)


def test_surroundings_alone_of_two_images_are_compared(batch):
    model = Normalised().double()
    batch = two(Batch(batch.image.double(), batch.target))
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    found = surroundings_disagree(of(model, batch), 16)
    torch.testing.assert_close(dict(model.named_buffers()), buffers)
    alone = [surroundings_only(batch.image[[1]], box(2, 2)[None]), surroundings_only(batch.image[[2]], box(4, 4)[None])]
    first, second = model(torch.cat([*alone, batch.image[[1, 2]]]))[:2]
    wanted = divergence_both_ways(first, second)
    assert wanted > 0
    torch.testing.assert_close(found, wanted)
    weights = [model.head.weight, model.features[0].weight]
    for grad, expected in zip(torch.autograd.grad(found, weights), torch.autograd.grad(wanted, weights), strict=True):
        torch.testing.assert_close(grad, expected)


def test_surroundings_alone_join_the_loss_by_their_weight(batch):
    marked = two(batch)
    model = Net()
    for weight, share in ((1.0, 1.0), (0.5, 1.0), (0.5, 0.2)):
        torch.manual_seed(7)
        without = Agreement(weight, surroundings=0)(model, marked)
        torch.manual_seed(7)
        step = Agreement(weight, surroundings=share)(model, marked)
        assert without.terms.keys() == {"agreement"}
        torch.testing.assert_close(step.loss, without.loss + weight * share * step.terms["surroundings"])
        torch.testing.assert_close(step.terms["surroundings"], surroundings_disagree(of(model, marked), 16))


def test_of_many_surroundings_some_are_drawn(batch, monkeypatch):
    seen = []

    def counted(model, images):
        seen.append(len(images))
        return model(images)

    monkeypatch.setattr("looksharp.objectives.exchange.second_pass", counted)
    for most, images in ((2, 4), (3, 6), (16, 6)):
        surroundings_disagree(of(Net(), batch), most)
        assert seen[-1] == images  # as many whole images beside them
    model = Net()
    assert len({round(surroundings_disagree(of(model, batch), 2).item(), 9) for _ in range(20)}) == 3  # pairs of three


def test_one_image_alone_has_no_other_surroundings(batch):
    marks = BatchMarks(torch.tensor([1]), torch.tensor([0]), box(2, 2)[None])
    assert surroundings_disagree(of(Net(), Batch(batch.image, batch.target, marks)), 16) == 0
    assert surroundings_disagree(of(Net(), Batch(batch.image, batch.target)), 16) == 0


def test_surroundings_of_several_labels_are_compared_by_what_was_removed(batch):
    """Image 1 shows classes 0 and 1, image 2 classes 1 and 2; 0 is removed from the first, 2 from the second."""
    target = torch.zeros(6, 3)
    target[1], target[2] = torch.tensor([1.0, 1, 0]), torch.tensor([0, 1.0, 1])
    marks = BatchMarks(torch.tensor([1, 2]), torch.tensor([0, 2]), torch.stack([box(2, 2), box(4, 4)]))
    model = Net()
    found = surroundings_disagree(of(model, Batch(batch.image, target, marks)), 16)
    p, q = (
        torch.distributions.Bernoulli(logits=model(surroundings_only(batch.image[[place]], mask[None]))[0])
        for place, mask in ((1, box(2, 2)), (2, box(4, 4)))
    )
    both = torch.distributions.kl_divergence(p, q) + torch.distributions.kl_divergence(q, p)
    torch.testing.assert_close(found, (both[0] + both[2]) / 2)
    target[2, 0] = 1  # class 0 is still to be seen in the second
    found = surroundings_disagree(of(model, Batch(batch.image, target, marks)), 16)
    torch.testing.assert_close(found, both[2] / 2)  # nothing left to compare in the first


def test_training_takes_the_surroundings_alone_away(batch):
    """Descending on the term makes the predictions for surroundings alone agree."""
    model, marked = Net(), two(batch)
    before = surroundings_disagree(of(model, marked), 16).item()
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(50):
        optimizer.zero_grad()
        surroundings_disagree(of(model, marked), 16).backward()
        optimizer.step()
    assert surroundings_disagree(of(model, marked), 16).item() < before / 10
