"""What one training step minimises."""

from looksharp.objectives.attend_rectify import HeadDiversity
from looksharp.objectives.attention_branch import BranchLoss
from looksharp.objectives.base import Objective, Step
from looksharp.objectives.classification import Classification
from looksharp.objectives.exchange import BackgroundExchange
from looksharp.objectives.gain import GAIN
from looksharp.objectives.group_dro import GroupDRO
from looksharp.objectives.guidance import Guidance
from looksharp.objectives.icasc import ICASC

__all__ = [
    "GAIN",
    "ICASC",
    "OBJECTIVES",
    "BackgroundExchange",
    "BranchLoss",
    "Classification",
    "GroupDRO",
    "Guidance",
    "HeadDiversity",
    "Objective",
    "Step",
]

OBJECTIVES: dict[str, type[Objective]] = {
    "classification": Classification,
    "icasc": ICASC,
    "gain": GAIN,
    "group_dro": GroupDRO,
}
"""Every objective by the name that the command line uses; each combines with guidance by `+`."""
