"""What one training step minimises."""

from looksharp.objectives.base import Objective, Step
from looksharp.objectives.classification import Classification
from looksharp.objectives.gain import GAIN
from looksharp.objectives.guidance import Guidance
from looksharp.objectives.icasc import ICASC

__all__ = ["GAIN", "ICASC", "OBJECTIVES", "Classification", "Guidance", "Objective", "Step"]

OBJECTIVES: dict[str, type[Objective]] = {"classification": Classification, "icasc": ICASC, "gain": GAIN}
"""Every objective by the name that the command line uses; each combines with `Guidance` by `+`."""
