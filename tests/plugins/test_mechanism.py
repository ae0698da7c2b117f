"""An attention mechanism from another package."""

import re
from pathlib import Path

CONTRACT = Path(__file__).parents[1] / "attention" / "test_mechanisms.py"
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
    assert "loud" in python("-m", "looksharp.cli", "train", "--objective", "icasc", "--help")
    report = python("-m", "pytest", "-v", str(CONTRACT), "-k", "loud and not definition")
    assert re.search("[1-9][0-9]* passed", report)
