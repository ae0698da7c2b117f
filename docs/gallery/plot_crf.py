"""
From a map to a mask
====================

A class map is coarse. A dense conditional random field brings it to the edges of its photograph.
"""

# %%
# A map of the cup, at the size of the photograph.

import matplotlib.pyplot as plt
import torch
from photographs import classifier, photographs
from torchvision.transforms.v2 import functional as F

from looksharp import attend, normalize_maps, resize_maps
from looksharp.crf import dense_crf
from looksharp.drawing.labels import label_overlay
from looksharp.drawing.overlay import overlay

photo = F.resize(photographs()["coffee"], [160, 240])
_, _, maps = attend(classifier(), photo[None], classes=torch.tensor([[2]]), layers=["layer3"], mechanism="layer_cam")
evidence = normalize_maps(resize_maps(maps["layer3"], (160, 240)))[0, 0]

# %%
# Half of the largest evidence is where cup and background are equally likely.

scores = torch.stack([1 - evidence, evidence]).clamp(0.02, 0.98).log()[None]
sharp = dense_crf(scores, photo[None] * 255).argmax(1)[0]

figure, axes = plt.subplots(1, 3, figsize=(10, 2.6), layout="constrained")
for axis, title, pixels in (
    (axes[0], "map", overlay(photo, evidence)),
    (axes[1], "more than half", label_overlay(photo, (evidence > 0.5).long())),
    (axes[2], "after the CRF", label_overlay(photo, sharp)),
):
    axis.imshow(pixels)
    axis.set_title(title)
    axis.axis("off")
