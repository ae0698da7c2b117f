"""
Maps, for and against
=====================

Four photographs at once: the classifier has to say which quarter speaks for which class.
"""

# %%
# Grad-CAM of the four highest-scoring classes, signed: red speaks for the class, blue against it.

import matplotlib.pyplot as plt
from photographs import as_run, collage, fresh_folder

from looksharp import explain


def show(path):
    """Show a PNG at its own size."""
    pixels = plt.imread(path)
    figure = plt.figure(figsize=(pixels.shape[1] / 100, pixels.shape[0] / 100), dpi=100)
    figure.add_axes((0, 0, 1, 1)).imshow(pixels)
    plt.axis("off")


run, folder = as_run(), fresh_folder()
photo = folder / "collage.png"
collage("cat", "temple", "coffee", "flower").save(photo)
explain(run, [photo], folder / "signed", classes="top4", signed=True, progress=False)
show(folder / "signed" / "attention.png")

# %%
# The same classes by other mechanisms. LayerCAM reads an earlier stage, where maps are finer.

explain(run, [photo], folder / "finer", classes="top4", mechanism="layer_cam", layer="layer3", progress=False)
show(folder / "finer" / "attention.png")

# %%
# In the image's own pixels: cover a window at a time and see how far the score falls.

explain(run, [photo], folder / "occlusion", classes="top4", mechanism="occlusion:24", progress=False)
show(folder / "occlusion" / "attention.png")

# %%
# Averaged over mirrored and scaled copies.

explain(run, [photo], folder / "smooth", classes="top4", smooth=True, progress=False)
show(folder / "smooth" / "attention.png")
