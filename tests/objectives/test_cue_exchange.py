import pytest
import torch
from torch import nn

from looksharp.batch import Batch, BatchMarks
from looksharp.data.sets.synthetic import biased_digits
from looksharp.interventions.pieces import exchange_pieces
from looksharp.objectives import Agreement, Classification, CueExchange
from looksharp.objectives.exchange import disagreement
from looksharp.objectives.guidance.cue_exchange import marked_cues

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


def box(top, left, side=4):
    mask = torch.zeros(SIZE, SIZE)
    mask[top : top + side, left : left + side] = 1
    return mask


@pytest.fixture
def batch():
    """Images 1, 2 and 4 of six have cue marks, 4 two of them; 0 and 5 an object, 3 an empty mark."""
    cues = BatchMarks(
        torch.tensor([4, 1, 2, 4, 3]),
        torch.tensor([2, 0, 1, 2, 1]),
        torch.stack([box(0, 0), box(2, 2), box(4, 4), box(0, 6), torch.zeros(SIZE, SIZE)]),
    )
    marks = BatchMarks(torch.tensor([0, 5]), torch.tensor([0, 2]), torch.stack([box(1, 1), box(7, 7)]))
    return Batch(torch.rand(6, 3, SIZE, SIZE), torch.tensor([0, 0, 1, 1, 2, 2]), marks, cues=cues)


def test_each_image_with_a_cue_gets_a_copy_with_anothers(batch):
    samples, masks = marked_cues(batch)
    assert samples.tolist() == [1, 2, 4]
    assert torch.equal(masks[2], box(0, 0) + box(0, 6))
    extended = CueExchange().extend(batch)
    assert extended.copies.tolist() == [1, 2, 4]
    assert extended.target[6:].tolist() == [0, 1, 2]
    images = batch.image[samples]
    for place, copy in enumerate(extended.image[6:]):
        candidates = [
            exchange_pieces(images[place, None], masks[place, None], images[other, None], masks[other, None])[0]
            for other in range(3)
            if other != place
        ]
        assert any(torch.allclose(copy, each) for each in candidates)
    assert CueExchange().extend(extended) is extended


def test_of_many_images_with_a_cue_some_are_drawn(batch):
    few = CueExchange(most=2)
    drawn = {tuple(few.extend(batch).copies.tolist()) for _ in range(20)}
    assert drawn == {(1, 2), (1, 4), (2, 4)}
    assert CueExchange(most=3).extend(batch).copies.tolist() == [1, 2, 4]


def test_the_loss_is_that_of_a_plain_loop(batch):
    model, objective = Net(), Classification() + CueExchange(0.7)
    torch.manual_seed(3)
    step = objective(model, batch)
    torch.manual_seed(3)
    extended = CueExchange().extend(batch)
    logits = model(extended.image)
    expected = sum(disagreement(logits[o, None], logits[6 + n, None]) for n, o in enumerate([1, 2, 4])) / 3
    loss = nn.functional.cross_entropy(logits, extended.target) + 0.7 * expected
    torch.testing.assert_close(step.terms["cue_agreement"], expected[0])
    torch.testing.assert_close(step.loss, loss[0])
    assert step.logits.shape == (6, 3)


@pytest.mark.parametrize("first", ["cues", "objects"])
def test_both_exchanges_share_a_batch_in_any_order(batch, first):
    model, parts = Net(), [CueExchange(), Agreement()]
    parts = parts if first == "cues" else parts[::-1]
    for part in parts:
        batch = part.extend(batch)
    assert sorted(batch.copies.tolist()) == [0, 1, 2, 4, 5]
    for recued, originals in ((True, [1, 2, 4]), (False, [0, 5])):
        own, copies = batch.copies_of(recued)
        assert own.tolist() == originals
        assert torch.equal(batch.target[own], batch.target[copies])
    step = (Classification() + parts[0] + parts[1])(
        model, Batch(batch.image[:6], batch.target[:6], batch.marks, cues=batch.cues)
    )
    assert step.terms["agreement"] > 0
    assert step.terms["cue_agreement"] > 0


def test_where_no_other_class_has_a_cue_it_goes(batch):
    """One image, or several of one class: nothing of another class can be lent."""
    cues = batch.cues
    alone = Batch(batch.image, batch.target, cues=BatchMarks(cues.sample[1:2], cues.label[1:2], cues.mask[1:2]))
    gone = exchange_pieces(batch.image[1:2], box(2, 2)[None], batch.image[1:2], box(2, 2)[None], "own")
    torch.testing.assert_close(CueExchange().extend(alone).image[6:], gone)
    one = Batch(batch.image, torch.zeros(6, dtype=torch.long), cues=cues)
    extended = CueExchange().extend(one)
    samples, masks = marked_cues(one)
    images = batch.image[samples]
    torch.testing.assert_close(extended.image[6:], exchange_pieces(images, masks, images, masks, "own"))


def test_nothing_to_exchange(batch):
    unmarked = Batch(batch.image, batch.target)
    assert CueExchange().extend(unmarked) is unmarked
    assert (Classification() + CueExchange())(Net(), unmarked).terms["cue_agreement"] == 0
    nothing, whole = torch.zeros(SIZE, SIZE), torch.ones(SIZE, SIZE)
    cues = BatchMarks(torch.tensor([1, 4]), torch.tensor([0, 2]), torch.stack([nothing, whole]))
    unclear = Batch(batch.image, batch.target, cues=cues)  # a mark of nothing, and one that leaves nothing
    assert CueExchange().extend(unclear) is unclear


def test_cue_marks_are_cropped_with_their_image():
    """Bright pixels under the mark stay under it."""
    data = biased_digits(train=8, val=1, test=1, rho=1.0)
    split = data.splits["train"]
    split.pointed, split.marks = split.cues, None
    split.images = torch.zeros_like(split.images)
    for place in range(8):
        split.images[place, :, split.cues.of(place)[0][1]] = 255
    (batch,) = split.loader([list(range(8))], data.pixels, augment="crop", seed=1)
    assert batch.marks is None
    moved = (data.pixels.denormalize(batch.image).mean(1) > 0.5)[batch.cues.sample]
    assert torch.equal(moved, batch.cues.mask.bool())
    assert batch.to("cpu").cues.sample.tolist() == list(range(8))
    taken = split.taken([3, 1])
    assert torch.equal(taken.pointed.of(0)[0][1], split.cues.of(3)[0][1])
