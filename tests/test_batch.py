import pytest
import torch

from looksharp.batch import Batch, BatchMarks, as_batch

IMAGES = torch.rand(3, 3, 4, 5)
TARGETS = torch.tensor([2, 0, 1])
MULTI_HOT = torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 1]])


def marks(count=2, height=4, width=5, labels=None):
    return BatchMarks(
        torch.zeros(count, dtype=torch.long),
        torch.ones(count if labels is None else labels, dtype=torch.long),
        torch.rand(count, height, width),
    )


@pytest.mark.parametrize("form", [tuple, list])
def test_pairs(form):
    batch = as_batch(form((IMAGES, TARGETS)))
    assert batch.image is IMAGES
    assert batch.target is TARGETS
    assert batch.marks is None
    assert batch.group is None
    assert len(batch) == 3


def test_mappings():
    given = marks()
    group = torch.tensor([0, 1, 0])
    batch = as_batch({"image": IMAGES, "target": TARGETS})
    assert (batch.image, batch.target, batch.marks, batch.group) == (IMAGES, TARGETS, None, None)
    batch = as_batch(
        {
            "image": IMAGES,
            "target": TARGETS,
            "group": group,
            "sample": given.sample,
            "label": given.label,
            "mask": given.mask,
        }
    )
    assert batch.group is group
    assert batch.marks.sample is given.sample
    assert batch.marks.label is given.label
    assert batch.marks.mask is given.mask
    assert len(batch.marks) == 2


def test_a_batch_is_itself():
    batch = Batch(IMAGES, TARGETS, marks())
    assert as_batch(batch) is batch


@pytest.mark.parametrize(
    ("batch", "got"),
    [((IMAGES, TARGETS, None), "tuple"), (IMAGES, "Tensor"), (None, "NoneType"), ([IMAGES], "list")],
)
def test_other_forms_are_refused(batch, got):
    expected = rf"batch must be a Batch, \(images, targets\) or a mapping with 'image' and 'target'; got {got}"
    with pytest.raises(TypeError, match=expected):
        as_batch(batch)


@pytest.mark.parametrize(
    ("images", "targets", "got"),
    [
        (IMAGES, TARGETS[:2], r"\(3, 3, 4, 5\) and targets \(2,\)"),
        (IMAGES[0], TARGETS, r"\(3, 4, 5\) and targets \(3,\)"),
    ],
)
def test_shapes_that_do_not_fit(images, targets, got):
    with pytest.raises(ValueError, match=rf"batch must hold images \(B, C, H, W\) and B targets; got {got}"):
        as_batch((images, targets))


@pytest.mark.parametrize("targets", [torch.rand(3), torch.tensor([True, False, True])])
def test_targets_that_are_no_indices(targets):
    expected = rf"targets \(B,\) must be class indices; got {targets.dtype}; multi-hot is \(B, classes\)"
    with pytest.raises(ValueError, match=expected):
        as_batch((IMAGES, targets))


@pytest.mark.parametrize(
    ("given", "got"),
    [
        (marks(2, 5, 4), r"\(2,\), \(2,\) and \(2, 5, 4\)"),
        (marks(2, labels=1), r"\(2,\), \(1,\) and \(2, 4, 5\)"),
        (BatchMarks(torch.zeros(1), torch.zeros(1), torch.rand(2, 4, 5)), r"\(1,\), \(1,\) and \(2, 4, 5\)"),
    ],
)
def test_marks_that_does_not_fit(given, got):
    expected = rf"marks must hold sample \(G,\), label \(G,\) and mask \(G, 4, 5\); got {got}"
    with pytest.raises(ValueError, match=expected):
        as_batch(Batch(IMAGES, TARGETS, given))


def test_marks_may_be_empty():
    batch = as_batch(Batch(IMAGES, TARGETS, marks(0)))
    assert len(batch.marks) == 0


@pytest.mark.parametrize("dtype", [torch.long, torch.bool, torch.float32])
def test_multi_hot_targets(dtype):
    batch = as_batch((IMAGES, MULTI_HOT.to(dtype)))
    assert batch.multilabel
    assert batch.multi_hot(3).dtype == torch.bool
    assert batch.multi_hot(3).tolist() == MULTI_HOT.bool().tolist()


def test_multi_hot_from_indices():
    batch = as_batch((IMAGES, TARGETS))
    assert not batch.multilabel
    assert batch.multi_hot(4).dtype == torch.bool
    assert batch.multi_hot(4).int().tolist() == [[0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0]]


@pytest.mark.parametrize("count", [2, 0])
def test_to_another_device(count):
    batch = Batch(IMAGES, TARGETS, marks(count), TARGETS).to("meta")
    tensors = (
        batch.image,
        batch.target,
        batch.group,
        batch.marks.sample,
        batch.marks.label,
        batch.marks.mask,
    )
    assert all(tensor.is_meta for tensor in tensors)
    assert batch.marks.mask.shape == (count, 4, 5)
    bare = Batch(IMAGES, TARGETS).to("meta")
    assert (bare.marks, bare.group) == (None, None)


def test_marks_of_an_image_outside_the_batch():
    outside = BatchMarks(torch.tensor([0, 2]), torch.tensor([1, 1]), torch.ones(2, 4, 4))
    with pytest.raises(ValueError, match="marks sample must be 0 to 1, places in the batch; got 0 to 2"):
        as_batch(Batch(torch.zeros(2, 3, 4, 4), torch.tensor([0, 1]), outside))
