"""Read the pixels of a model that was trained elsewhere from its evaluation transform; one file a source."""

from looksharp.data.preprocessing.image_processor import processor_pixels
from looksharp.data.preprocessing.reading import read_pixels
from looksharp.data.preprocessing.timm_config import timm_pixels
from looksharp.data.preprocessing.torchvision_transform import transform_pixels

__all__ = ["processor_pixels", "read_pixels", "timm_pixels", "transform_pixels"]
