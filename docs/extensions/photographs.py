"""What the gallery shares: six photographs with a free licence, and a classifier that tells them apart."""

import tempfile
from pathlib import Path

import skimage.data
import timm
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import Tensor, nn
from torchvision.transforms import v2
from torchvision.utils import make_grid

from looksharp import Pixels, adopt
from looksharp.training.folder import Run

SIDE = 96
KEPT = Path(__file__).parents[1] / "_build" / "photographs.pt"


def fresh_folder() -> Path:
    """Return an empty folder, for what a page of the gallery writes."""
    return Path(tempfile.mkdtemp())


def photographs() -> dict[str, Tensor]:
    """Return name -> photograph (3, H, W) in [0, 1]."""
    found = {
        "astronaut": skimage.data.astronaut(),
        "cat": skimage.data.chelsea(),
        "coffee": skimage.data.coffee(),
        "rocket": skimage.data.rocket(),
        "temple": load_sample_image("china.jpg"),
        "flower": load_sample_image("flower.jpg"),
    }
    return {name: torch.tensor(photo).permute(2, 0, 1) / 255 for name, photo in found.items()}


def classifier() -> nn.Module:
    """Return a ResNet of ten layers trained on crops of the photographs; it is trained once a build."""
    model = timm.create_model("resnet10t", num_classes=6)
    if KEPT.exists():
        model.load_state_dict(torch.load(KEPT, weights_only=True))
        return model.eval()
    torch.manual_seed(0)
    photos = list(photographs().values())
    crop = v2.Compose([v2.RandomResizedCrop(SIDE, (0.1, 1)), v2.RandomHorizontalFlip(), v2.ColorJitter(0.3, 0.3, 0.3)])
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(100):
        targets = torch.randint(len(photos), (32,))
        logits = model(torch.stack([crop(photos[target]) for target in targets]))
        optimizer.zero_grad()
        nn.functional.cross_entropy(logits, targets).backward()
        optimizer.step()
    KEPT.parent.mkdir(exist_ok=True)
    torch.save(model.state_dict(), KEPT)
    return model.eval()


def as_run(size: int = 2 * SIDE) -> Run:
    """Return the classifier as a run, for `explain`."""
    pixels = Pixels((size, size), mean=(0, 0, 0), std=(1, 1, 1))
    return adopt(classifier(), classes=list(photographs()), pixels=pixels)


def collage(*names: str) -> Image.Image:
    """Return a square of four photographs."""
    found = photographs()
    squares = [v2.functional.center_crop(found[name], min(found[name].shape[1:])) for name in names]
    return v2.functional.to_pil_image(make_grid([v2.functional.resize(each, [SIDE, SIDE]) for each in squares], 2, 0))
