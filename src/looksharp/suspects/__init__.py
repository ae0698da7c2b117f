"""Find training images to mark: their evidence lies on something that recurs from image to image."""

from looksharp.suspects.choosing import Suspect, Suspects, suspects
from looksharp.suspects.finding import find_groups
from looksharp.suspects.groups import read_groups
from looksharp.suspects.writing import write_suspects

__all__ = ["Suspect", "Suspects", "find_groups", "read_groups", "suspects", "write_suspects"]
