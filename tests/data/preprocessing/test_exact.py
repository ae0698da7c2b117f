"""Pixels read from transforms of timm, torchvision and transformers, against those transforms themselves."""

import numpy as np
import pytest
import timm
import torch
import transformers
from PIL import Image
from timm.data import create_transform, resolve_data_config
from torch import Tensor, nn
from torchvision import models, tv_tensors
from torchvision.transforms import InterpolationMode, transforms, v2

from looksharp.data.build import DataConfig, build_data
from looksharp.data.pixels import Pixels
from looksharp.data.preprocessing import processor_pixels, read_pixels, timm_pixels, transform_pixels
from looksharp.data.sampling import InOrder
from looksharp.data.splits.files import FileSplit
from looksharp.data.transform import image_transform
from looksharp.marks.marks import Marks

SIZES = ((301, 199), (187, 333), (64, 48), (30, 71), (96, 96), (97, 96), (224, 225), (500, 120))
"""Height and width of portraits, landscapes, images smaller than the network's input and images of just its size."""


def picture(size):
    """Noise over a slope, in which both a shift by a pixel and another filter show."""
    height, width = size
    slope = np.linspace(0, 120, width)[None, :, None] + np.linspace(0, 60, height)[:, None, None]
    noise = np.random.default_rng(height * width).integers(0, 75, (height, width, 3))
    return Image.fromarray((slope + noise).astype(np.uint8))


def read(pixels, image):
    return pixels.normalize(image_transform(pixels)(tv_tensors.Image(image)).as_subclass(Tensor))


def check(pixels, transform, tolerance=1e-6):
    for size in SIZES:
        image = picture(size)
        expected, found = transform(image), read(pixels, image)
        assert found.shape == expected.shape
        assert (found - expected).abs().max() <= tolerance, size


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest", "lanczos", "box", "hamming"])
@pytest.mark.parametrize("mode", ["center", "squash"])
@pytest.mark.parametrize(
    ("size", "share"), [((96, 96), 0.875), ((97, 97), 0.9), ((96, 96), 1.0), ((64, 96), 0.95), ((96, 96), 1.15)]
)
def test_timm(interpolation, mode, size, share):
    config = resolve_data_config(
        {"input_size": (3, *size), "interpolation": interpolation, "crop_pct": share, "crop_mode": mode}
    )
    pixels = timm_pixels(config)
    check(pixels, create_transform(**config))
    assert transform_pixels(create_transform(**config)) == pixels  # read from the transform it is the same


def test_every_published_configuration_of_timm_is_read():
    refused = set()
    for name in timm.list_pretrained():
        config = resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
        try:
            read_pixels(config)
        except ValueError as error:
            refused.add(str(error).partition(",")[0])
    assert refused == {"the transform's crop_mode is 'border'"}


@pytest.mark.parametrize(
    ("resize", "crop", "interpolation"),
    [(256, 224, "bilinear"), (232, 224, "bilinear"), (97, 96, "bicubic"), (96, 96, "nearest"), (101, 90, "lanczos")],
)
def test_torchvision_presets(resize, crop, interpolation):
    preset = models.ResNet18_Weights.IMAGENET1K_V1.transforms(
        crop_size=crop, resize_size=resize, interpolation=InterpolationMode(interpolation)
    )
    check(transform_pixels(preset), preset)


def test_every_published_preset_of_torchvision_is_read():
    for name in models.list_models(module=models):
        for weights in models.get_model_weights(name):
            preset = weights.transforms()
            pixels = read_pixels(preset)
            assert (pixels.size, pixels.resized) == ((preset.crop_size[0],) * 2, (preset.resize_size[0],) * 2)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize("version", [transforms, v2], ids=["first", "second"])
def test_own_steps_that_resize_pictures(version, interpolation):
    floats = v2.ToDtype(torch.float32, scale=True) if version is v2 else version.ConvertImageDtype(torch.float32)
    before = [version.Resize(100, InterpolationMode(interpolation)), version.PILToTensor()]
    after = [version.CenterCrop((96, 80)), floats, version.Normalize((0.5, 0.4, 0.3), (0.25, 0.5, 1.0))]
    own = version.Compose([*before, version.Compose(after)])
    assert transform_pixels(own).resizer == "pil"
    check(transform_pixels(own), own)


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest", "nearest-exact"])
def test_own_steps_that_resize_tensors(interpolation, antialias):
    resize = v2.Resize((64, 80), InterpolationMode(interpolation), antialias=antialias)
    own = nn.Sequential(v2.ToImage(), v2.RGB(), resize, v2.ToDtype(torch.float32, scale=True))
    assert transform_pixels(own).resizer == "torch"
    check(transform_pixels(own), own)


PROCESSORS = {
    "ViT": {"size": {"height": 96, "width": 96}},
    "ViT, of one number": {"size": 96, "resample": 3},
    "ViT, wide": {"size": {"height": 64, "width": 97}, "resample": 0},
    "ViT, of other values": {"size": {"height": 96, "width": 96}, "rescale_factor": 1 / 127.5, "image_mean": [1, 1, 1]},
    "ViT, of one mean": {"size": {"height": 96, "width": 96}, "image_mean": 0.4, "image_std": 0.25},
    "ViT, not normalised": {"size": {"height": 96, "width": 96}, "do_normalize": False},
    "DeiT": {"size": {"height": 107, "width": 107}, "crop_size": {"height": 96, "width": 96}},
    "CLIP": {"size": {"shortest_edge": 99}, "crop_size": {"height": 96, "width": 96}},
    "Bit": {"size": {"shortest_edge": 110}, "crop_size": {"height": 96, "width": 96}},
    "Beit": {"size": {"height": 96, "width": 96}, "resample": 2},
    "MobileNetV1": {"size": {"shortest_edge": 101}, "crop_size": {"height": 96, "width": 95}},
    "MobileNetV2": {"size": {"shortest_edge": 101}, "crop_size": {"height": 96, "width": 96}},
    "Pvt": {"size": {"height": 96, "width": 96}},
    "Segformer": {"size": {"height": 96, "width": 96}},
    "Siglip": {"size": {"height": 96, "width": 96}},
    "ConvNext": {"size": {"shortest_edge": 97}, "crop_pct": 0.9},
    "ConvNext, warped": {"size": {"shortest_edge": 384}},
    "Levit": {"size": {"shortest_edge": 96}, "crop_size": {"height": 96, "width": 96}},
    "PoolFormer": {"size": {"shortest_edge": 96}, "crop_size": {"height": 96, "width": 96}, "crop_pct": 0.95},
}


@pytest.mark.parametrize("backend", ["pil", "torchvision"])
@pytest.mark.parametrize("name", PROCESSORS)
def test_transformers(name, backend):
    kind = f"{name.partition(',')[0]}ImageProcessor{'Pil' if backend == 'pil' else ''}"
    processor = getattr(transformers, kind)(**PROCESSORS[name])
    pixels = processor_pixels(processor)
    assert pixels.resizer == ("pil" if backend == "pil" else "torch")
    check(pixels, lambda image: processor(image, return_tensors="pt")["pixel_values"][0])
    assert read_pixels(processor) == pixels
    if backend == "pil":
        assert read_pixels(processor.to_dict()) == pixels  # of a configuration alone, PIL's


def test_a_configuration_of_an_earlier_version_is_read():
    config = {"feature_extractor_type": "ViTFeatureExtractor", "size": 224, "resample": 2, "do_normalize": True}
    pixels = read_pixels(config | {"image_mean": [0.5] * 3, "image_std": [0.5] * 3})
    assert pixels.size == pixels.resized == (224, 224)
    assert (pixels.fit, pixels.interpolation, pixels.resizer) == ("resize", "bilinear", "pil")
    fast = read_pixels(
        {"image_processor_type": "ViTImageProcessorFast", "size": 8, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    )
    assert fast.resizer == "torch"


def test_transformers_wrapper_of_timms_transforms():
    published = timm.get_pretrained_cfg("resnet18.a1_in1k").to_dict() | {"input_size": (3, 96, 96)}
    processor = transformers.TimmWrapperImageProcessor(published, architecture="resnet18")
    pixels = processor_pixels(processor)
    assert (pixels.size, pixels.interpolation) == ((96, 96), "bicubic")
    check(pixels, lambda image: processor(image)["pixel_values"][0])
    assert read_pixels(processor) == pixels


def test_the_name_of_an_image_processor_is_none():
    with pytest.raises(ValueError, match=f"^str is no image processor, which cannot be reproduced{MEND}$"):
        processor_pixels("ViTImageProcessor")


def norm():
    return transforms.Normalize((0.5,) * 3, (0.5,) * 3)


REFUSED = {
    "step Lambda of the transform is not known": [
        transforms.Resize(8),
        transforms.Lambda(lambda image: image),
        transforms.ToTensor(),
    ],
    "step own of the transform is not known": [
        transforms.Resize(8),
        (own := lambda image: image),
        transforms.ToTensor(),
    ],
    "step RandomHorizontalFlip(p=0.5) of the transform is not known": [transforms.RandomHorizontalFlip()],
    "the transform has no CenterCrop, so that images are of several sizes": [
        transforms.Resize(8),
        transforms.ToTensor(),
    ],
    "the transform resizes fractions and not bytes": [
        transforms.ToTensor(),
        transforms.Resize((8, 8)),
        norm(),
    ],
    "the transform makes no tensor of fractions": [transforms.Resize((8, 8)), transforms.PILToTensor()],
    "step ToDtype of the transform has no scale=True": [
        v2.ToImage(),
        v2.Resize((8, 8)),
        v2.ToDtype(torch.float32),
    ],
    "the transform is not of the form Resize, CenterCrop, ToTensor, Normalize but CenterCrop, Resize, ToTensor": [
        transforms.CenterCrop(8),
        transforms.Resize(8),
        transforms.ToTensor(),
    ],
    "the transform is not of the form Resize, CenterCrop, ToTensor, Normalize but ToTensor": [transforms.ToTensor()],
    "the transform's resize_size must be 1 to 8192 px; got 9999 x 9999": [
        transforms.Resize(9999),
        transforms.CenterCrop(9),
        transforms.ToTensor(),
    ],
    "the transform resizes tensors by torchvision's first version, which rounds otherwise": [
        transforms.PILToTensor(),
        transforms.Resize((8, 8)),
        transforms.ConvertImageDtype(torch.float32),
    ],
    "the transform's mean has 2 channels and not 3": [
        transforms.Resize((8, 8)),
        transforms.ToTensor(),
        transforms.Normalize((0.5, 0.5), (0.5, 0.5)),
    ],
}
own.__name__ = "own"
MEND = "; state the pixels by --image_size, --resize_size, --fit, --interpolation, --mean and --std"


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_reproduced_is_said_with_the_flags_that_state_it(reason):
    with pytest.raises(ValueError, match="cannot be reproduced") as caught:
        read_pixels(transforms.Compose(REFUSED[reason]))
    assert str(caught.value) == f"{reason}, which cannot be reproduced{MEND}"


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"input_size": (1, 8, 8)}, "the model reads 1 channels and not 3"),
        ({"input_size": (3, 8, 8), "crop_mode": "border"}, "the transform's crop_mode is 'border'"),
        (
            {"image_processor_type": "EfficientNetImageProcessor"},
            "image processor EfficientNetImageProcessor is not known",
        ),
        (
            {"image_processor_type": "ViTImageProcessor", "do_resize": False},
            "image processor ViTImageProcessor resizes nothing",
        ),
        (
            {"image_processor_type": "ViTImageProcessor", "size": {"longest_edge": 9}},
            "the image processor's size is {'longest_edge': 9}",
        ),
        (
            {"image_processor_type": "ConvNextImageProcessor", "size": {"height": 9, "width": 9}},
            "the ConvNext image processor has another size than one shorter side",
        ),
        (
            {"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 9}},
            "the image processor brings images to no one size",
        ),
        (nn.Linear(1, 1), "step Linear(in_features=1, out_features=1, bias=True) of the transform is not known"),
    ],
)
def test_configurations_that_cannot_be_reproduced(config, reason):
    with pytest.raises(ValueError, match="cannot be reproduced") as caught:
        read_pixels(config)
    assert str(caught.value) == f"{reason}, which cannot be reproduced{MEND}"


def test_logits_of_image_files_equal_those_of_the_models_own_transform(tmp_path):
    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=7).eval()
    config = resolve_data_config({"input_size": (3, 96, 96), "interpolation": "bicubic", "crop_pct": 0.95})
    transform, pictures = create_transform(**config), [picture(size) for size in SIZES]
    for name, image in enumerate(pictures):
        folder = tmp_path / ("ab"[name % 2])
        folder.mkdir(exist_ok=True)
        image.save(folder / f"{name}.png")
    asked = DataConfig(str(tmp_path), val_share=0.5).read_as(timm_pixels(config))
    data = build_data(asked)
    assert data.pixels == timm_pixels(config)
    paths = [f"{'ab'[name % 2]}/{name}.png" for name in range(len(pictures))]
    split = FileSplit(targets=torch.zeros(len(paths)).long(), root=tmp_path, paths=paths)
    (batch,) = split.loader(InOrder(len(paths), len(paths)), data.pixels)
    with torch.no_grad():
        expected = model(torch.stack([transform(image) for image in pictures]))
        found = model(batch.image)
    assert (found - expected).abs().max() <= 1e-6 * expected.abs().max()


@pytest.mark.parametrize("middle", ["round", "floor"])
@pytest.mark.parametrize("fit", ["shorter", "resize"])
def test_masks_are_moved_with_the_image(tmp_path, fit, middle):
    """A mask of the bright pixels lies where the bright pixels are after resizing and cutting."""
    bright = np.zeros((60, 90, 3), dtype=np.uint8)
    bright[10:50, 30:70] = 255
    Image.fromarray(bright).save(tmp_path / "0.png")
    marks = Marks([0], [0], [torch.from_numpy(bright[..., 0] > 0)])
    split = FileSplit(targets=torch.zeros(1).long(), marks=marks, root=tmp_path, paths=["0.png"])
    pixels = Pixels((41, 41), fit=fit, resize_size=(46, 46), interpolation="bicubic", resizer="pil", middle=middle)
    (batch,) = split.loader(InOrder(1, 1), pixels)
    shown = pixels.denormalize(batch.image)[0, 0]
    differ = (shown > 0.5) != (batch.marks.mask[0] > 0.5)
    assert batch.marks.mask[0].mean() > 0.3
    assert differ.float().mean() < 0.04  # the edge, where a nearest pixel differs from a filter
