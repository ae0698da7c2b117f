"""What one training step minimises."""

from looksharp.objectives.base import Objective, Step
from looksharp.objectives.classification import Classification
from looksharp.objectives.icasc import ICASC

__all__ = ["ICASC", "Classification", "Objective", "Step"]
