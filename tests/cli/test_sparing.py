import gc
import subprocess
import sys

import pytest

from looksharp.cli.sparing import without_collecting


@pytest.fixture
def collecting():
    """Leaves garbage collection on, and nothing hidden from it."""
    yield
    gc.unfreeze()
    gc.enable()


@pytest.mark.usefixtures("collecting")
def test_nothing_is_collected_while_libraries_load(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")
    with without_collecting():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() > 1000


@pytest.mark.usefixtures("collecting")
@pytest.mark.parametrize("enabled", [True, False])
def test_collecting_stays_as_it_is_where_libraries_are_loaded_or_it_is_off(monkeypatch, enabled):
    if not enabled:
        gc.disable()
        monkeypatch.delitem(sys.modules, "torch")
    with without_collecting():
        assert gc.isenabled() == enabled
    assert gc.isenabled() == enabled
    assert gc.get_freeze_count() == 0


def test_signal_processing_is_loaded_on_use():
    spared = """
import sys
from looksharp.cli.sparing import spare_loading
spare_loading()
import torchmetrics
assert "scipy.signal._signaltools" not in sys.modules
import scipy.signal
from scipy.signal import convolve
assert convolve([1, 2], [1, 3]).tolist() == [1, 5, 6]
from scipy.signal.windows import hamming
assert scipy.signal.windows.hamming is hamming and not hasattr(scipy.signal, "hamming")
assert len(scipy.signal.__all__) > 100
"""
    subprocess.run([sys.executable, "-c", spared], check=True)
