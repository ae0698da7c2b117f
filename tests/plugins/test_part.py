"""Parts of an objective, guidance losses among them, from another package."""

import re
from pathlib import Path

import pytest

CONTRACT = Path(__file__).parents[1] / "objectives" / "test_contract.py"
LOUD = '''
from dataclasses import dataclass

from looksharp.objectives.base import PARTS, Part, Term


@PARTS.register("loud")
@dataclass(eq=False)
class Loud(Part):
    """Quiet logits.

    Args:
        weight: of the term.
        limit: above which a logit is loud.
    """

    weight: float = 0.5
    limit: float = 0.1

    def recorded(self, model, batch):
        return ()

    def terms(self, forward):
        return {"loud": Term((forward.logits - self.limit).relu().mean(), self.weight)}, {}
'''
INSIDE = '''
from dataclasses import dataclass

from looksharp.objectives.base import PARTS
from looksharp.objectives.guidance.base import MapGuidance, masks_like


@PARTS.register("loud")
@dataclass(eq=False)
class Loud(MapGuidance):
    """No attention outside the mask, unnormalised."""

    weight: float = 0.5

    def losses(self, forward, marks):
        maps = self.maps(forward, marks)
        return (maps * (1 - masks_like(marks.mask, maps))).mean((1, 2))
'''


@pytest.mark.parametrize("source", [LOUD, INSIDE], ids=["part", "guidance"])
def test_another_package_adds_a_part(plugin, source):
    python = plugin(source)
    code = "from looksharp.objectives.parsing import *; print(build_objective(parse_objective('gain+loud:2')).parts[1])"
    assert python("-c", code).startswith("Loud(weight=2.0, ")
    assert "--loud.weight" in python("-m", "looksharp", "train", "--objective", "classification+loud", "--help")
    assert "loud" in python("-m", "looksharp", "train", "--help")
    report = python("-m", "pytest", "-v", str(CONTRACT), "-k", "loud")
    assert re.search("[1-9][0-9]* passed", report)
