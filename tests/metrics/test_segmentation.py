import subprocess
import sys

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


_PROCESSES = """
import os, sys, torch
from torch import distributed
from looksharp.metrics.segmentation import MeanIoU

def work(rank, shares, folder):
    world = len(shares)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store-{world}", rank=rank, world_size=world)
    images = torch.load(f"{folder}/images.pt")
    score = MeanIoU(4)
    start = sum(shares[:rank])
    for predicted, truth in images[start : start + shares[rank]]:
        score.update(predicted, truth)
    torch.save(tuple(score.compute()), f"{folder}/{world}-{rank}.pt")
    distributed.destroy_process_group()

folder, children = sys.argv[1], []
for shares in ((5, 2), (4, 3, 0)):
    for rank in range(len(shares)):
        child = os.fork()
        if not child:
            work(rank, shares, folder)
            os._exit(0)
        children.append(child)
sys.exit(any(os.waitpid(child, 0)[1] for child in children))
"""


def test_real_processes_with_unequal_numbers_of_images(tmp_path):
    images = [(torch.randint(0, 4, (5, width)), torch.randint(0, 4, (5, width))) for width in range(3, 10)]
    images[2][1][:2] = 255
    torch.save(images, tmp_path / "images.pt")
    subprocess.run([sys.executable, "-c", _PROCESSES, str(tmp_path)], check=True, timeout=120)
    whole = MeanIoU(4)
    for predicted, truth in images:
        whole.update(predicted, truth)
    for world in (2, 3):
        for rank in range(world):
            found = torch.load(tmp_path / f"{world}-{rank}.pt")
            for each, expected in zip(found, whole.compute(), strict=True):
                torch.testing.assert_close(each, expected, rtol=0, atol=0)
