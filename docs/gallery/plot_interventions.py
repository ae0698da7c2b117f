"""
Groups of suspects, and proof by intervention
=============================================

A moved heat map is no proof. Groups of images show what may decide, and interventions prove what does: each marked
object is shown in the surroundings of another image of its class, in those of another class, alone, and gone.
"""

# %%
# Digits over crops of two photographs; small digits stand mostly before the temple, large ones before the flower.

import subprocess
from dataclasses import replace

import matplotlib.pyplot as plt
import torch
from photographs import fresh_folder, photographs
from torchvision.transforms import v2

from looksharp import INTERVENTIONS, build_data, example_pictures, intervene, load_run

torch.manual_seed(0)
folder = fresh_folder()
for kind in ("temple", "flower"):
    (folder / kind).mkdir()
    for place in range(30):
        v2.functional.to_pil_image(v2.RandomCrop(128)(photographs()[kind])).save(folder / kind / f"{place}.jpg")
for command in (
    "compose --foregrounds digits --labels small=0+1+2+3+4,large=5+6+7+8+9 --train 1200 --val 100 --test 200 --size 48 "
    "--backgrounds temple=temple,flower=flower --out photos",
    "train --data photos --image_size 48 --backbone small --epochs 5 --lr 0.05 --out run",
    "suspects run -n 12 --tested 8 --out suspects",
):
    subprocess.run(["looksharp", *command.split()], cwd=folder, check=True, capture_output=True)

# %%
# Groups of suspects: training images that are alike in what decides them, each with its region framed. The regions hold
# more of the photographs than of the digits, and the tests say that no single piece decides alone ("unclear").

sheet = plt.imread(folder / "suspects" / "contact_sheet.png")
figure = plt.figure(figsize=(sheet.shape[1] / 200, sheet.shape[0] / 200), dpi=100)
figure.add_axes((0, 0, 1, 1)).imshow(sheet)
plt.axis("off")

# %%
# `intervene` exchanges and removes, and counts the answers.

run = load_run(folder / "run")
split = build_data(replace(run.config.data, data=str(folder / "photos")), seed=0).splits["test_balanced"]
found = intervene(run.model, split, run.pixels)
for name, value in found.values.items():
    print(f"{INTERVENTIONS[name][0]}: {value:.0%}")

# %%
# `example_pictures` shows what the network was shown.

figure, axes = plt.subplots(3, 5, figsize=(10, 6.4), layout="constrained")
for row, image in zip(axes, found.images[:3].tolist(), strict=True):
    example = example_pictures(split, run.pixels, found, image)
    for axis, (name, picture) in zip(row, example.pictures.items(), strict=True):
        axis.imshow(run.pixels.denormalize(picture[None])[0].clamp(0, 1).permute(1, 2, 0))
        axis.set_title(name.replace("_", " "), fontsize=9)
        axis.axis("off")
