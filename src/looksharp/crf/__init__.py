"""Dense conditional random fields: sharpen a segmentation along the edges of its photograph."""

from looksharp.crf.dense_crf import EXACT_PIXELS, dense_crf
from looksharp.crf.kernels import CRFKernels

__all__ = ["EXACT_PIXELS", "CRFKernels", "dense_crf"]
