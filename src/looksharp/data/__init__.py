"""Data sets: named splits of images with targets and, for some images, marks."""

from looksharp.data.build import DataConfig, build_data
from looksharp.data.split import Data, Pairs, Pixels, Split

__all__ = ["Data", "DataConfig", "Pairs", "Pixels", "Split", "build_data"]
