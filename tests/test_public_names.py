import subprocess
import sys

import pytest

import looksharp


def test_all_public_names_are_there():
    assert looksharp.__all__ == dir(looksharp) == sorted(looksharp._HOMES)
    for name in looksharp.__all__:
        assert getattr(looksharp, name) is not None


def test_import_is_light():
    code = "import sys, looksharp; print([m for m in ('torch', 'lightning', 'timm', 'matplotlib') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_using_objectives_loads_neither_trainer_nor_backbones():
    code = (
        "import sys, looksharp; looksharp.ICASC, looksharp.record;"
        "print([m for m in ('lightning', 'timm', 'matplotlib', 'torchvision') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_unknown_name():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        looksharp.nothing  # noqa: B018
