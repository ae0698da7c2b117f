import pytest
import torch
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

from looksharp.metrics import CalibrationError, log_odds


@pytest.fixture
def predictions():
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(200, 5, generator=generator)
    return logits, torch.randint(0, 5, (200,), generator=generator)


def test_log_odds_are_those_of_the_probabilities(predictions):
    logits, _ = predictions
    for multilabel, odds in ((False, logits.double().softmax(1)), (True, logits.double().sigmoid())):
        assert torch.allclose(log_odds(logits, multilabel), (odds / (1 - odds)).log().float(), atol=1e-5)


def test_log_odds_of_what_is_nearly_certain():
    logits = torch.tensor([[60.0, 0.0, 20.0]])
    assert logits.softmax(1)[0, 0] == 1  # nothing left in float32
    rest = torch.tensor([0.0, 20.0], dtype=torch.float64).exp().sum().log().item()
    assert log_odds(logits, False)[0].tolist() == pytest.approx([60 - rest, -60, -40], abs=1e-5)


def test_order_of_log_odds_is_that_of_the_probabilities(predictions):
    logits, _ = predictions
    assert torch.equal(log_odds(logits, False).argsort(0), logits.double().softmax(1).argsort(0))


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_calibration_error_is_torchmetrics(predictions, bins):
    logits, target = predictions
    odds = logits.softmax(1)
    confidence, predicted = odds.max(1)
    metric = CalibrationError(bins)
    for start in range(0, 200, 33):
        metric.update(confidence[start : start + 33], (predicted == target)[start : start + 33])
    expected = multiclass_calibration_error(odds, target, num_classes=5, n_bins=bins, norm="l1")
    assert metric.compute().error.item() == pytest.approx(expected.item(), abs=1e-6)


def test_calibration_error_of_yes_or_no_is_torchmetrics(predictions):
    logits, target = predictions
    several = torch.nn.functional.one_hot(target, 5).bool()
    metric = CalibrationError()
    metric.update(logits.sigmoid().flatten(), several.flatten())
    expected = binary_calibration_error(logits.sigmoid().flatten(), several.flatten().int(), n_bins=15, norm="l1")
    assert metric.compute().error.item() == pytest.approx(expected.item(), abs=1e-6)


def test_calibration_by_hand():
    metric = CalibrationError(2)
    metric.update(torch.tensor([0.1, 0.3, 0.5, 1.0]), torch.tensor([1, 0, 1, 1]))
    found = metric.compute()
    assert found.confidence.tolist() == pytest.approx([0.2, 0.75])
    assert found.accuracy.tolist() == [0.5, 1]
    assert found.predictions.tolist() == [2, 2]
    assert found.error.item() == pytest.approx((2 * 0.3 + 2 * 0.25) / 4)


def test_two_processes_count_as_one(predictions):
    logits, target = predictions
    confidence, predicted = logits.softmax(1).max(1)
    whole, halves = CalibrationError(), [CalibrationError(), CalibrationError()]
    whole.update(confidence, predicted == target)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(1))
    for metric, part in zip(halves, (order[:60], order[60:]), strict=True):
        metric.update(confidence[part], (predicted == target)[part])
    halves[0].merge_state(halves[1])
    assert halves[0].compute().error.item() == pytest.approx(whole.compute().error.item(), abs=1e-12)
    assert torch.equal(halves[0].compute().predictions, whole.compute().predictions)


def test_nothing_predicted_and_errors():
    metric = CalibrationError()
    metric.update(torch.empty(0), torch.empty(0, dtype=torch.bool))
    assert metric.compute().error.isnan()
    with pytest.raises(ValueError, match="bins must be at least 1; got 0"):
        CalibrationError(0)
