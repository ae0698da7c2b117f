"""Data sets: named splits of images with targets and, for some images, masks."""

from looksharp.data.annotations import Annotation, AnnotationSet, read_annotations, write_coco
from looksharp.data.build import DataConfig, build_data
from looksharp.data.split import Data, Pairs, Pixels, Split

__all__ = [
    "Annotation",
    "AnnotationSet",
    "Data",
    "DataConfig",
    "Pairs",
    "Pixels",
    "Split",
    "build_data",
    "read_annotations",
    "write_coco",
]
