import pytest
import torch
from scipy.stats import ks_2samp

from looksharp.metrics import SeparationChart, separation_chart


def drawn(seed, decimals=None):
    """Probabilities of true and confusing classes, of different numbers; rounded ones have ties."""
    generator = torch.Generator().manual_seed(seed)
    target, confused = torch.rand(83, generator=generator).sqrt(), torch.rand(61, generator=generator).square()
    return (target, confused) if decimals is None else (target.round(decimals=decimals), confused.round(decimals=1))


@pytest.mark.parametrize("decimals", [None, 1, 2])
@pytest.mark.parametrize("seed", range(5))
def test_margin_and_its_place_are_scipys(seed, decimals):
    target, confused = drawn(seed, decimals)
    chart = separation_chart(target, confused)
    expected = ks_2samp(target.double().numpy(), confused.double().numpy())
    assert chart.margin.item() == pytest.approx(expected.statistic, abs=1e-12)
    reached = [  # scipy picks by rounding where several are as far apart
        abs((target <= p).double().mean() - (confused <= p).double().mean()).item() for p in chart.probability
    ]
    assert chart.at == chart.probability[[r > max(reached) - 1e-9 for r in reached].index(True)]
    if decimals is None:
        assert chart.at.item() == expected.statistic_location


def test_distribution_functions_image_by_image():
    target, confused = drawn(0, 1)
    chart = separation_chart(target, confused)
    assert chart.probability.tolist() == sorted(set(target.tolist() + confused.tolist()))
    for p, of_target, of_confused in zip(*(part.tolist() for part in chart[:3]), strict=True):
        assert of_target == sum(t <= p for t in target.tolist()) / len(target)
        assert of_confused == sum(c <= p for c in confused.tolist()) / len(confused)


def test_the_margin_does_not_ask_which_is_higher():
    target, confused = drawn(1)
    there, back = separation_chart(target, confused), separation_chart(confused, target)
    assert there.margin == back.margin
    assert there.at == back.at


def test_bins_that_hold_what_occurs_are_exact():
    target, confused = (torch.randint(0, 9, (40,), generator=torch.Generator().manual_seed(s)) / 8 for s in (0, 1))
    counted = SeparationChart(bins=8)
    counted.update(target, confused)
    found, expected = counted.compute(), separation_chart(target, confused)
    assert found.probability.tolist() == [edge / 8 for edge in range(9)]
    assert (found.margin, found.at) == (expected.margin, expected.at)
    assert torch.equal(found.target, expected.target)  # all nine values occur
    assert torch.equal(found.confused, expected.confused)


@pytest.mark.parametrize("seed", range(5))
def test_bins_are_off_by_what_one_holds(seed):
    target, confused = drawn(seed)
    counted = SeparationChart(bins=50)
    for start in range(0, 83, 10):  # the confused ones are fewer
        counted.update(target[start : start + 10], confused[start : start + 10])
    found, expected = counted.compute(), separation_chart(target, confused)
    held = counted.counts.double() / counted.counts.sum(1, keepdim=True)
    assert expected.margin - held.sum(0).max() <= found.margin <= expected.margin
    for edge, share in zip(found.probability.tolist(), found.target.tolist(), strict=True):
        assert share == (target.double() <= edge).double().mean()


def test_two_processes_count_as_one():
    target, confused = drawn(3)
    whole, halves = SeparationChart(), [SeparationChart(), SeparationChart()]
    whole.update(target, confused)
    halves[0].update(target[:30], confused[:50])
    halves[1].update(target[30:], confused[50:])
    halves[0].merge_state(halves[1])
    assert all(torch.equal(a, b) for a, b in zip(halves[0].compute(), whole.compute(), strict=True))
    assert whole.counts.numel() == 2 * 201  # whatever the number of images


def test_without_images_there_is_no_margin():
    nothing = torch.empty(0)
    assert separation_chart(nothing, nothing).margin.isnan()
    assert separation_chart(torch.tensor([0.5]), nothing).at.isnan()
    chart = SeparationChart()
    chart.update(nothing, nothing)
    assert chart.compute().margin.isnan()
    assert chart.compute().target.isnan().all()


def test_errors():
    with pytest.raises(ValueError, match="bins must be at least 1; got 0"):
        SeparationChart(bins=0)
