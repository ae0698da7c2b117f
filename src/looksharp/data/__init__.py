"""Data sets: named splits of images with targets and, for some images, marks."""

from looksharp.data.build import DataConfig, build_data
from looksharp.data.split import Data, Pixels, Split

__all__ = ["Data", "DataConfig", "Pixels", "Split", "build_data"]
