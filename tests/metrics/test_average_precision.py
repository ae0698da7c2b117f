import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch.nn import functional as F

from looksharp.metrics import ClassRanking
from looksharp.metrics.average_precision import histogram_roc_auc

CLASSES = 6


@pytest.fixture(params=["one label", "several labels"])
def targets(request):
    generator = torch.Generator().manual_seed(1)
    if request.param == "one label":
        return torch.randint(0, CLASSES, (150,), generator=generator)
    return (torch.rand(150, CLASSES, generator=generator) < 0.3).long()


@pytest.fixture(params=["continuous", "tied"])
def scores(request, targets):
    generator = torch.Generator().manual_seed(0)
    found = 3 * torch.randn(150, CLASSES, generator=generator) + multi_hot(targets)
    return found.round() if request.param == "tied" else found


def multi_hot(targets):
    return targets if targets.ndim == 2 else F.one_hot(targets, CLASSES)


def in_batches(metric, scores, targets, order=None, size=40):
    order = torch.arange(len(scores)) if order is None else order
    for part in order.split(size):
        metric.update(scores[part], targets[part])
    return metric


def test_exact_is_scikit_learns(scores, targets):
    found = in_batches(ClassRanking(CLASSES), scores, targets).compute()
    truth = multi_hot(targets).numpy()
    assert found.average_precision.tolist() == pytest.approx(
        average_precision_score(truth, scores.numpy(), average=None), abs=1e-9
    )
    assert found.roc_auc.tolist() == pytest.approx(roc_auc_score(truth, scores.numpy(), average=None), abs=1e-9)


def test_bins_are_scikit_learns_of_rounded_scores(scores, targets):
    found = in_batches(ClassRanking(CLASSES, bins=64), scores, targets).compute()
    binned = ((scores.clamp(-16, 16) + 16) * 2).floor().clamp(max=63).numpy()  # half a unit wide
    truth = multi_hot(targets).numpy()
    assert found.average_precision.tolist() == pytest.approx(
        average_precision_score(truth, binned, average=None), abs=1e-9
    )
    assert found.roc_auc.tolist() == pytest.approx(roc_auc_score(truth, binned, average=None), abs=1e-9)


def test_narrow_bins_are_nearly_exact(scores, targets):
    exact = in_batches(ClassRanking(CLASSES), scores, targets).compute()
    metric = in_batches(ClassRanking(CLASSES, bins=2048), scores, targets)
    for found, expected in zip(metric.compute(), exact, strict=True):
        assert torch.allclose(found, expected, atol=5e-3)
    assert metric.counts.shape == (CLASSES, 2, 2048)  # whatever the number of images


@pytest.mark.parametrize("bins", [None, 2048])
def test_batches_order_and_processes_change_nothing(bins, scores, targets):
    whole = in_batches(ClassRanking(CLASSES, bins), scores, targets, size=150).compute()
    order = torch.randperm(150, generator=torch.Generator().manual_seed(2))
    shuffled = in_batches(ClassRanking(CLASSES, bins), scores, targets, order, size=7).compute()
    halves = [in_batches(ClassRanking(CLASSES, bins), scores, targets, part) for part in (order[:90], order[90:])]
    halves[0].merge_state(halves[1])
    for found in (shuffled, halves[0].compute()):
        assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(found, whole, strict=True))


@pytest.mark.parametrize("bins", [None, 16])
def test_classes_that_have_nothing_to_rank(bins):
    metric = ClassRanking(3, bins)
    metric.update(torch.randn(4, 3), torch.tensor([[1, 0, 1], [1, 0, 0], [1, 0, 0], [1, 0, 1]]))
    found = metric.compute()
    assert found.average_precision[0] == 1  # all are positive
    assert found.roc_auc[0].isnan()
    assert found.average_precision[1].isnan()
    assert found.roc_auc[1].isnan()
    assert not found.roc_auc[2].isnan()
    nothing = ClassRanking(3, bins)
    nothing.update(torch.empty(0, 3), torch.empty(0, dtype=torch.long))
    assert all(values.isnan().all() and len(values) == 3 for values in nothing.compute())


@pytest.mark.parametrize("bins", [None, 16])
def test_scores_without_bounds(bins):
    metric = ClassRanking(1, bins)
    metric.update(torch.tensor([[torch.inf], [-torch.inf], [0.0]]), torch.tensor([[1], [0], [1]]))
    found = metric.compute()
    assert (found.average_precision.item(), found.roc_auc.item()) == (1, 1)


def test_roc_auc_pair_by_pair():
    negatives, positives = [3, 0, 2, 1], [1, 1, 0, 4]
    wins = sum(
        n * p * (1.0 if i < j else 0.5 if i == j else 0.0)
        for i, n in enumerate(negatives)
        for j, p in enumerate(positives)
    )
    found = histogram_roc_auc(torch.tensor([[negatives, positives]]))
    assert found.tolist() == [pytest.approx(wins / (6 * 6))]


def test_errors():
    with pytest.raises(ValueError, match="bins must be at least 2, or None; got 1"):
        ClassRanking(3, bins=1)


@pytest.mark.parametrize("bins", [None, 4096])
def test_labels_that_are_not_known_are_left_out(bins):
    generator = torch.Generator().manual_seed(3)
    scores, targets = torch.randn(200, 4, generator=generator), torch.randint(-1, 2, (200, 4), generator=generator)
    targets[:, 3] = -1
    metric = ClassRanking(4, bins)
    for start in range(0, 200, 50):
        metric.update(scores[start : start + 50], targets[start : start + 50])
    found = metric.compute()
    for label in range(3):
        known = targets[:, label] >= 0
        wanted, given = targets[known, label].numpy(), scores[known, label].numpy()
        tolerance = 1e-9 if bins is None else 2e-3
        assert found.average_precision[label].item() == pytest.approx(
            average_precision_score(wanted, given), abs=tolerance
        )
        assert found.roc_auc[label].item() == pytest.approx(roc_auc_score(wanted, given), abs=tolerance)
    assert found.average_precision[3].isnan()
    assert found.roc_auc[3].isnan()
