"""An attention mechanism from another package."""

import re
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "attention"
CONTRACT = [str(FOLDER / "test_mechanisms.py"), str(FOLDER / "test_mechanisms_on_networks.py")]
LOUD = '''
from looksharp.attention.mechanisms import MECHANISMS


@MECHANISMS.register("loud")
def loud(features, gradients):
    """Twice the evidence of HiResCAM."""
    return 2 * (gradients * features.unsqueeze(1)).sum(2)
'''


def test_another_package_adds_a_mechanism(plugin):
    python = plugin(LOUD)
    code = (
        "import torch; from looksharp.attention.mechanisms import MECHANISMS; "
        "f, g = torch.rand(1, 2, 3, 3), torch.rand(1, 1, 2, 3, 3); "
        "print(torch.equal(MECHANISMS['loud'](f, g), 2 * (g[0] * f).sum(1, keepdim=True).transpose(0, 1)))"
    )
    assert python("-c", code) == "True\n"
    assert "loud" in python("-m", "looksharp", "train", "--objective", "icasc", "--help")
    report = python("-m", "pytest", "-vv", *CONTRACT, "-k", "loud and not definition")
    for name in ("test_mechanisms", "test_mechanisms_on_networks"):
        assert re.search(rf"{name}.py::test_[^\n]*loud[^\n]*PASSED", report)
    assert re.search("[1-9][0-9]* passed", report)


BRIGHTNESS = '''
from looksharp.attention.mechanisms import IMAGE, MECHANISMS, ModelMechanism
from looksharp.settings import settings


@MECHANISMS.register("brightness")
@settings
class Brightness(ModelMechanism):
    """Show where the image is bright, whatever the class."""

    layered = False
    uses_classes = False

    gain: float = 1.0

    def maps(self, model, images, classes, layers):
        bright = self.gain * images.mean(1, keepdim=True)
        bright = bright.double() if images.dtype.itemsize == 8 else bright.float()
        return {IMAGE: bright.expand(-1, classes.shape[1], -1, -1)}
'''


def test_another_package_adds_a_mechanism_that_runs_the_model(plugin):
    python = plugin(BRIGHTNESS)
    code = (
        "import torch; from torch import nn; from looksharp import attend; "
        "x = torch.rand(2, 3, 8, 8); net = nn.Sequential(nn.Flatten(), nn.Linear(192, 4)); "
        "found = attend(net, x, top=2, mechanism='brightness:2').maps; "
        "print(torch.equal(found['image'][:, 1], 2 * x.mean(1)))"
    )
    assert python("-c", code) == "True\n"
    shown = " ".join(python("-m", "looksharp", "explain", "--help").split())
    assert "brightness: Show where the image is bright, whatever the class (the same for all classes)" in shown
    assert "brightness" not in python("-m", "looksharp", "train", "--objective", "icasc", "--help")
    report = python("-m", "pytest", "-v", CONTRACT[1], "-k", "brightness and CNN")
    assert re.search("[1-9][0-9]* passed", report)
