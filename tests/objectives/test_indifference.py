import copy

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Categorical, kl_divergence

from looksharp.batch import Batch, BatchMarks
from looksharp.interventions.surroundings import surroundings_only
from looksharp.objectives import Classification
from looksharp.objectives.guidance.indifference import Indifference, told

SIZE = 12


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU())
        self.head = nn.Linear(4, 3)

    def forward(self, images):
        return self.head(self.features(images).mean((2, 3)))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def marks():
    """Images 1 and 3 of four have an object; a mark of another class than its image's counts for nothing."""
    masks = torch.zeros(3, SIZE, SIZE)
    masks[0, 2:6, 1:5] = masks[1, 4:9, 4:9] = masks[2, :3] = 1
    return BatchMarks(torch.tensor([1, 3, 0]), torch.tensor([0, 2, 2]), masks)


def test_told_is_the_divergence_of_the_prediction_from_a_uniform_one():
    logits = 3 * torch.randn(6, 4)
    expected = kl_divergence(Categorical(logits=torch.zeros(6, 4)), Categorical(logits=logits))
    torch.testing.assert_close(told(logits), expected)
    torch.testing.assert_close(told(torch.full((2, 4), 7.0)), torch.zeros(2))


def test_of_multi_label_images_the_classes_that_are_marked_count():
    logits, present = 3 * torch.randn(3, 4), torch.tensor([[1.0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]])
    each = kl_divergence(Bernoulli(0.5 * torch.ones(3, 4)), Bernoulli(logits=logits))
    expected = [(each[0, 0] + each[0, 2]) / 2, each[1, 3], torch.tensor(0.0)]
    torch.testing.assert_close(told(logits, present), torch.stack(expected))


def test_the_loss_is_that_of_a_plain_loop(marks):
    model, batch = Net(), Batch(torch.rand(4, 3, SIZE, SIZE), torch.tensor([0, 0, 1, 2]), marks)
    step = (Classification() + Indifference(0.7))(copy.deepcopy(model), batch)
    expected = []
    for image, mask in ((1, marks.mask[0]), (3, marks.mask[1])):
        odds = model(surroundings_only(batch.image[image, None], mask[None])).softmax(1)[0]
        expected.append(sum(torch.log(1 / 3 / chance) / 3 for chance in odds))
    value = sum(expected) / 2
    torch.testing.assert_close(step.terms["indifference"], value.detach())
    torch.testing.assert_close(step.loss, nn.functional.cross_entropy(model(batch.image), batch.target) + 0.7 * value)


def test_nothing_is_asked_of_images_without_an_object(marks):
    images, targets = torch.rand(4, 3, SIZE, SIZE), torch.tensor([1, 1, 1, 0])  # the marks are of other classes
    for batch in (Batch(images, targets), Batch(images, targets, marks)):
        assert (Classification() + Indifference())(Net(), batch).terms["indifference"] == 0


def test_training_takes_away_what_the_surroundings_tell(marks):
    model, batch = Net(), Batch(torch.rand(4, 3, SIZE, SIZE), torch.tensor([0, 0, 1, 2]), marks)
    with torch.no_grad():
        model.head.bias += torch.tensor([2.0, 0, -2])
    objective, optimizer = Indifference(1.0), torch.optim.SGD(model.parameters(), 0.5)
    before = objective(model, batch).loss
    for _ in range(30):
        optimizer.zero_grad()
        objective(model, batch).loss.backward()
        optimizer.step()
    assert objective(model, batch).loss < 0.05 * before
