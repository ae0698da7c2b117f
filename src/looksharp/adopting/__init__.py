"""Make a run out of a classifier that was trained elsewhere."""

from looksharp.adopting.adopt import Adopted, adopt, adopt_model
from looksharp.adopting.settings import AdoptSettings

__all__ = ["AdoptSettings", "Adopted", "adopt", "adopt_model"]
