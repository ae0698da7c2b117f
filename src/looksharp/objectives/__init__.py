"""Objectives: the loss that a training step minimises, as parts and their sums."""

from looksharp.objectives.base import PARTS, Objective, Part, Step, Sum
from looksharp.objectives.branch_loss import BranchLoss
from looksharp.objectives.classification import Classification
from looksharp.objectives.gain import GAIN
from looksharp.objectives.group_dro import GroupDRO
from looksharp.objectives.guidance import Guidance
from looksharp.objectives.guidance.agreement import Agreement
from looksharp.objectives.guidance.background_exchange import BackgroundExchange
from looksharp.objectives.guidance.cue_exchange import CueExchange
from looksharp.objectives.head_diversity import HeadDiversity
from looksharp.objectives.icasc import ICASC
from looksharp.objectives.sec import SEC

__all__ = [
    "GAIN",
    "ICASC",
    "PARTS",
    "SEC",
    "Agreement",
    "BackgroundExchange",
    "BranchLoss",
    "Classification",
    "CueExchange",
    "GroupDRO",
    "Guidance",
    "HeadDiversity",
    "Objective",
    "Part",
    "Step",
    "Sum",
]
