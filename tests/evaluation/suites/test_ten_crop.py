import pytest
import torch
from PIL import Image
from sklearn.metrics import average_precision_score
from torch.nn import functional as F

from looksharp.data.splits.files import FileSplit
from looksharp.evaluation import evaluate


def ten_views(images, height, width):
    """10 x (B, 3, height, width): corners and the middle, of the images and of their mirror images."""
    bottom, right = images.shape[-2] - height, images.shape[-1] - width
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (round(bottom / 2), round(right / 2))]
    return [
        shown[..., row : row + height, column : column + width]
        for shown in (images, images.flip(-1))
        for row, column in corners
    ]


@pytest.mark.parametrize("labels", ["one", "several"])
def test_ten_crops_view_by_view(labels, model, split, several, data):
    split = split if labels == "one" else several
    large = F.interpolate(data.pixels.normalize(split.images), (55, 55), mode="bilinear")  # 48 x 8 / 7
    with torch.no_grad():
        logits = [model(view) for view in ten_views(large, 48, 48)]
    odds = sum(each.softmax(1) if labels == "one" else each.sigmoid() for each in logits) / 10
    found = evaluate(model, split, data.pixels, suites=["ten_crop"], batch_size=7)
    if labels == "several":
        assert found.values == {"map_ten_crop": pytest.approx(average_precision_score(split.targets, odds), abs=1e-4)}
        return
    ranked = odds.argsort(1, descending=True)
    right = ranked == split.targets[:, None]
    assert found.per_image["top1_ten_crop"].tolist() == right[:, 0].float().tolist()
    assert found.per_image["top5_ten_crop"].tolist() == right[:, :5].any(1).float().tolist()
    assert found.values == {
        "top1_ten_crop": pytest.approx(right[:, 0].double().mean().item()),
        "top5_ten_crop": pytest.approx(right[:, :5].any(1).double().mean().item()),
    }


def test_ten_crops_of_files_are_cut_from_larger_images(model, split, data, tmp_path):
    images = torch.randint(0, 256, (6, 3, 55, 60), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for index, image in enumerate(images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"{index}.png")
    views = ten_views(data.pixels.normalize(images[..., 2:57]), 48, 48)  # the middle 55 columns
    with torch.no_grad():
        odds = sum(model(view).softmax(1) for view in views) / 10
    targets = odds.argsort(1, descending=True)[torch.arange(6), torch.tensor([0, 1, 4, 5, 9, 0])]
    files = FileSplit(targets=targets, root=tmp_path, paths=[f"{i}.png" for i in range(6)])
    found = evaluate(model, files, data.pixels, suites=["ten_crop"], batch_size=4)
    assert found.per_image["top1_ten_crop"].tolist() == [1, 0, 0, 0, 0, 1]
    assert found.per_image["top5_ten_crop"].tolist() == [1, 1, 1, 0, 0, 1]
