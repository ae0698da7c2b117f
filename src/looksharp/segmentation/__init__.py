"""From image labels to masks: seeds, and the segmentation learnt from them."""

from looksharp.segmentation.seeds import make_seeds

__all__ = ["make_seeds"]
