"""Guidance: losses that read marks, one file each. They combine with every objective."""

from looksharp.objectives.guidance.base import Guidance, GuidanceLoss

__all__ = ["Guidance", "GuidanceLoss"]
