"""Find training images to mark: their evidence lies on something that recurs from image to image."""

from looksharp.suspects.choosing import Suspect, Suspects, suspects
from looksharp.suspects.writing import write_suspects

__all__ = ["Suspect", "Suspects", "suspects", "write_suspects"]
