import pytest
import torch
from torchmetrics.segmentation import MeanIoU as Theirs

from looksharp.metrics.segmentation import MeanIoU, pixel_confusion, segmentation_scores


def by_hand(predicted, truth, classes):
    """Intersection over union of each class, pixel by pixel; None for one that is nowhere."""
    pairs = [(p, t) for p, t in zip(predicted.flatten().tolist(), truth.flatten().tolist(), strict=True) if t != 255]
    found = []
    for c in range(classes):
        both = sum(p == c and t == c for p, t in pairs)
        either = sum(c in (p, t) for p, t in pairs)
        found.append(both / either if either else None)
    return found


def test_against_a_loop():
    predicted, truth = torch.randint(0, 4, (3, 6, 5)), torch.randint(0, 4, (3, 6, 5))
    truth[0, :2] = 255
    predicted[1, 3] = 255  # predicted to be of no class
    expected = by_hand(predicted, truth, 5)
    assert expected[4] is None
    score = MeanIoU(5)
    for p, t in zip(predicted, truth, strict=True):
        score.update(p, t)
    found = score.compute()
    assert found.iou[:4].tolist() == pytest.approx(expected[:4])
    assert found.iou[4].isnan()
    assert float(found.mean) == pytest.approx(sum(expected[:4]) / 4)


def test_against_torchmetrics():
    predicted, truth = torch.randint(0, 4, (1, 16, 12)), torch.randint(0, 4, (1, 16, 12))
    theirs = Theirs(num_classes=4, input_format="index", per_class=True)
    theirs.update(predicted, truth)
    ours = MeanIoU(4)
    ours.update(predicted, truth)
    torch.testing.assert_close(ours.compute().iou.float(), theirs.compute())


def test_precision_and_recall():
    confusion = torch.tensor([[3, 1, 2], [1, 4, 0]])
    found = segmentation_scores(confusion)
    assert found.precision.tolist() == [3 / 4, 4 / 5]
    assert found.recall.tolist() == [3 / 6, 4 / 5]
    assert found.iou.tolist() == [3 / 7, 4 / 6]
    assert segmentation_scores(torch.zeros(2, 3)).mean.isnan()


def test_processes_are_added():
    predicted, truth = torch.randint(0, 3, (4, 8)), torch.randint(0, 3, (4, 8))
    parts = []
    for p, t in zip(predicted.split(2), truth.split(2), strict=True):
        part = MeanIoU(3)
        part.update(p, t)
        parts.append(part)
    whole = MeanIoU(3)
    whole.update(predicted, truth)
    assert torch.equal(parts[0].confusion + parts[1].confusion, whole.confusion)
    assert whole._reductions["confusion"] is not None  # torchmetrics sums it over processes


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"^predicted and truth must be of one shape; got \(2,\), \(3,\)$"):
        pixel_confusion(torch.zeros(2), torch.zeros(3), 2)
    with pytest.raises(ValueError, match=r"^indices must be 0 to 1 or 255; got 7$"):
        pixel_confusion(torch.tensor([0, 7]), torch.tensor([0, 0]), 2)
    with pytest.raises(ValueError, match=r"^classes must be at least 1; got 0$"):
        MeanIoU(0)
