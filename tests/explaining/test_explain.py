import io
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from looksharp.attention.attend import attend
from looksharp.data.split import Pixels
from looksharp.explaining.explain import explain, parse_classes
from looksharp.images.reading import read_image
from looksharp.networks import AttentionBranchNetwork, SmallNet
from looksharp.training import Run
from looksharp.training.settings import RunConfig

NAMES = ("cat", "dog", "great ape", "tench, tinca", "top2", "7")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.manual_seed(0)
    model = SmallNet(6, width=8).eval()
    path = tmp_path_factory.mktemp("run")
    return Run(path, RunConfig(), model, NAMES, Pixels((32, 40)), multilabel=False, seconds=1.0)


@pytest.fixture
def photographs(tmp_path):
    """Three images: one of the run's size, one wider in grey, and one of the first's name elsewhere."""
    rng = np.random.default_rng(0)
    shapes = {"first.png": (32, 40, 3), "second.jpg": (50, 90), "other/first.png": (60, 40, 4)}
    for name, shape in shapes.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 255, shape, dtype=np.uint8)).save(tmp_path / name)
    return [tmp_path / name for name in shapes]


def test_classes_by_number_name_or_index():
    assert parse_classes("top1", NAMES) == 1
    assert parse_classes("top5", NAMES) == 5
    assert parse_classes("top99", NAMES) == len(NAMES)
    assert parse_classes("dog", NAMES) == [1]
    assert parse_classes("dog,cat", NAMES) == [1, 0]
    assert parse_classes("dog, great ape", NAMES) == [1, 2]
    assert parse_classes("3,dog", NAMES) == [3, 1]
    assert parse_classes("tench, tinca", NAMES) == [3]  # a name with a comma
    assert parse_classes("top2", NAMES) == [4]  # a class of that name comes first
    assert parse_classes("7", NAMES) == [5]  # and so it does before an index


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ("top0", "classes must be top1 or more, or names; got 'top0'"),
        ("zebra", "class 'zebra' is not one of the run's 6 classes: cat, dog, great ape, tench, tinca, top2, 7"),
        ("cat,zebra", "class 'zebra' is not one of the run's"),
        ("6", "class '6' is not one of the run's"),
        ("-1", "class '-1' is not one of the run's"),
        ("", "class '' is not one of the run's"),
        ("top", "class 'top' is not one of the run's"),
        ("top²", "class 'top²' is not one of the run's"),
        ("cat,", "class '' is not one of the run's"),
    ],
)
def test_classes_that_are_not_there(chosen, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        parse_classes(chosen, NAMES)


def test_a_long_list_of_classes_is_cut():
    with pytest.raises(ValueError, match=r"1000 classes: n0, .*, n19, \.\.\.$"):
        parse_classes("zebra", [f"n{number}" for number in range(1000)])


def prepared(run, path):
    """The image as the run reads it, by other means: resized to cover, then its middle."""
    image = read_image(path).as_subclass(torch.Tensor)
    (height, width), (rows, columns) = image.shape[1:], run.pixels.size
    scale = max(rows / height, columns / width)
    size = (max(round(height * scale), rows), max(round(width * scale), columns))
    if size != (height, width):
        resized = F.interpolate(image[None].float(), size, mode="bilinear", antialias=True)
        image = resized[0].round().clamp(0, 255)
    top, left = round((size[0] - rows) / 2), round((size[1] - columns) / 2)
    return run.pixels.normalize(image[None, :, top : top + rows, left : left + columns].byte())


def test_what_is_written(run, photographs, tmp_path):
    out = tmp_path / "out"
    written = explain(run, photographs, out, classes="top3", progress=False)
    assert written == [out / name for name in ("attention.png", "first.npz", "second.npz", "first-2.npz")]
    assert set(out.iterdir()) == set(written)
    for path, file in zip(photographs, written[1:], strict=True):
        found = np.load(file)
        expected = attend(run.model, prepared(run, path), top=3)
        assert set(found) == {"maps", "classes", "probabilities", "layer"}
        np.testing.assert_allclose(found["maps"], expected.maps["stage3"][0], rtol=0.05, atol=0.02)  # bytes round
        assert found["classes"].tolist() == [NAMES[index] for index in expected.classes[0].tolist()]
        odds = expected.logits.softmax(1)[0, expected.classes[0]]
        np.testing.assert_allclose(found["probabilities"], odds, atol=0.01)
        assert found["probabilities"].tolist() == sorted(found["probabilities"], reverse=True)
        assert str(found["layer"]) == "stage3"
        assert found["maps"].min() >= 0
    exact = attend(run.model, prepared(run, photographs[0]), top=3).maps["stage3"][0]  # no resizing here
    np.testing.assert_allclose(np.load(written[1])["maps"], exact, rtol=1e-5, atol=1e-6)


def test_the_picture(run, photographs, tmp_path):
    picture, *_ = explain(run, photographs, tmp_path / "out", classes="top2,cat,dog", progress=False)
    assert picture.read_bytes().startswith(b"\x89PNG")
    with Image.open(picture) as image:
        image.load()
        small = explain(run, photographs[:1], tmp_path / "small", classes="cat", progress=False)[0]
        with Image.open(io.BytesIO(small.read_bytes())) as other:
            assert image.width > other.width  # three classes beside the image, and one
            assert image.height > 2 * other.height  # three images, and one
        assert np.asarray(image.convert("RGB")).std() > 10


def test_chosen_classes_and_layer(run, photographs, tmp_path):
    (_, file) = explain(run, photographs[:1], tmp_path, classes="dog,cat", layer="stage2", progress=False)
    found = np.load(file)
    assert found["classes"].tolist() == ["dog", "cat"]
    assert str(found["layer"]) == "stage2"
    expected = attend(run.model, prepared(run, photographs[0]), torch.tensor([[1, 0]]), layers=["stage2"])
    np.testing.assert_allclose(found["maps"], expected.maps["stage2"][0], rtol=1e-4, atol=1e-6)


def test_signed_maps(run, photographs, tmp_path):
    def maps(folder, **options):
        return np.load(explain(run, photographs[:1], tmp_path / folder, classes="top6", progress=False, **options)[1])

    signed, plain = maps("signed", signed=True)["maps"], maps("plain")["maps"]
    assert signed.min() < 0
    np.testing.assert_allclose(signed.clip(min=0), plain, atol=1e-6)


def test_a_mechanism_by_name_or_function(run, photographs, tmp_path):
    def mechanism(features, gradients):
        return (features.unsqueeze(1) * gradients).sum(2) * 0 + 3

    (_, file) = explain(run, photographs[:1], tmp_path / "a", mechanism=mechanism, progress=False)
    assert (np.load(file)["maps"] == 3).all()
    (_, file) = explain(run, photographs[:1], tmp_path / "b", mechanism="layer_cam", classes="cat", progress=False)
    expected = attend(run.model, prepared(run, photographs[0]), torch.tensor([0]), mechanism="layer_cam")
    np.testing.assert_allclose(np.load(file)["maps"], expected.maps["stage3"][0], rtol=1e-4, atol=1e-6)


def test_a_map_in_the_images_pixels(run, photographs, tmp_path):
    options = {"mechanism": "occlusion:window=16,stride=8", "classes": "dog", "progress": False}
    (_, file) = explain(run, photographs[:1], tmp_path, signed=True, **options)
    assert str(np.load(file)["layer"]) == "image"
    expected = attend(
        run.model, prepared(run, photographs[0]), torch.tensor([1]), mechanism="occlusion:16", signed=True
    )
    np.testing.assert_allclose(np.load(file)["maps"], expected.maps["image"][0], rtol=1e-3, atol=1e-5)
    with pytest.raises(ValueError, match="reads no layer that could be chosen"):
        explain(run, photographs, tmp_path / "none", layer="stage2", **options)
    with pytest.raises(ValueError, match="mechanism 'eigen_cam' has no evidence against a class"):
        explain(run, photographs, tmp_path / "none", signed=True, mechanism="eigen_cam", progress=False)
    assert not (tmp_path / "none").exists()


def test_smoothed_and_fused_maps(run, photographs, tmp_path):
    options = {"classes": "dog", "progress": False}
    batch, dog = prepared(run, photographs[0]), torch.tensor([1])
    (_, file) = explain(run, photographs[:1], tmp_path / "a", smooth=True, **options)
    expected = attend(run.model, batch, dog, smooth=True).maps["stage3"]
    np.testing.assert_allclose(np.load(file)["maps"], expected[0], rtol=1e-4, atol=1e-6)
    (_, file) = explain(run, photographs[:1], tmp_path / "b", layer=["stage1", "stage3"], fuse=True, **options)
    assert str(np.load(file)["layer"]) == "stage1+stage3"
    expected = attend(run.model, batch, dog, layers=["stage1", "stage3"], fuse=True).maps["stage1+stage3"]
    np.testing.assert_allclose(np.load(file)["maps"], expected[0], rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match=r"^layer names 2; add fuse to average their maps, or name one$"):
        explain(run, photographs, tmp_path / "c", layer=["stage1", "stage3"], **options)
    with pytest.raises(ValueError, match="mechanism 'built_in' shows the maps that there are"):
        explain(run, photographs, tmp_path / "c", mechanism="built_in", smooth=True, **options)


def test_probabilities_of_several_labels(run, photographs, tmp_path):
    several = Run(run.path, run.config, run.model, run.classes, run.pixels, multilabel=True, seconds=1.0)
    (_, file) = explain(several, photographs[:1], tmp_path, classes="cat", progress=False)
    odds = attend(run.model, prepared(run, photographs[0])).logits.sigmoid()[0, 0].item()
    assert np.load(file)["probabilities"].tolist() == pytest.approx([odds], abs=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": "zebra"}, "class 'zebra' is not one of the run's 6 classes"),
        ({"layer": "stage9"}, "layer 'stage9' is not in SmallNet"),
        ({"mechanism": "guess"}, "mechanism 'guess' is not known"),
    ],
)
def test_nothing_is_written_for_what_is_not_there(options, message, run, photographs, tmp_path):
    with pytest.raises(ValueError, match=message):
        explain(run, photographs, tmp_path / "out", progress=False, **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"this is no image", None])
def test_nothing_is_written_if_a_file_is_no_image(content, run, photographs, tmp_path):
    if content is None:  # truncated
        content = photographs[0].read_bytes()[:500]
    (tmp_path / "broken.png").write_bytes(content)
    for broken in (tmp_path / "broken.png", tmp_path / "missing.png", tmp_path):
        with pytest.raises(ValueError, match=rf"^{broken} cannot be read as an image: "):
            explain(run, [*photographs, broken], tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


# Attention that a network has built in ---------------------------------------------------------------------------


def built_in_run(run, multitask=False):
    torch.manual_seed(0)
    backbone = SmallNet(12 if multitask else 6, width=8)
    model = AttentionBranchNetwork(backbone, image_size=(32, 40), multitask=multitask).eval()
    return Run(run.path, run.config, model, NAMES, run.pixels, multilabel=multitask, seconds=1.0)


@pytest.fixture
def no_backward(monkeypatch):
    monkeypatch.setattr(torch.autograd, "grad", lambda *_, **__: pytest.fail("a backward"))
    monkeypatch.setattr(torch.Tensor, "backward", lambda *_, **__: pytest.fail("a backward"))


@pytest.mark.parametrize("mechanism", [None, "built_in"])
def test_the_networks_own_map_is_shown_without_a_backward(mechanism, run, photographs, tmp_path, no_backward):
    own = built_in_run(run)
    picture, file = explain(own, photographs[:1], tmp_path, classes="top3", mechanism=mechanism, progress=False)
    assert picture.read_bytes().startswith(b"\x89PNG")
    found, expected = np.load(file), own.model.explained(prepared(run, photographs[0]))
    assert set(found) == {"stage3", "classes", "probabilities"}
    assert found["stage3"].shape == (1, 8, 10)  # of the features before the last stage
    np.testing.assert_allclose(found["stage3"], expected.maps[0].detach(), rtol=1e-5, atol=1e-6)
    odds, best = expected.logits.softmax(1)[0].topk(3)
    np.testing.assert_allclose(found["probabilities"], odds.detach(), rtol=1e-4)
    assert found["classes"].tolist() == [NAMES[index] for index in best.tolist()]


def test_a_map_for_each_task(run, photographs, tmp_path, no_backward):
    own = built_in_run(run, multitask=True)
    _, file = explain(own, photographs[:1], tmp_path, classes="dog,cat", progress=False)
    found, expected = np.load(file), own.model.explained(prepared(run, photographs[0]))
    assert found["classes"].tolist() == ["dog", "cat"]
    np.testing.assert_allclose(found["stage3"], expected.maps[0, [1, 0]].detach(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["probabilities"], expected.logits.sigmoid()[0, [1, 0]].detach(), rtol=1e-4)


@pytest.mark.parametrize("options", [{"mechanism": "grad_cam"}, {"layer": "backbone.stage3"}, {"signed": True}])
def test_maps_of_classes_of_a_network_with_attention_of_its_own(options, run, photographs, tmp_path):
    own = built_in_run(run)
    _, file = explain(own, photographs[:1], tmp_path, classes="dog,cat", progress=False, **options)
    found = np.load(file)
    assert str(found["layer"]) == "backbone.stage3"
    layers, signed = ["backbone.stage3"], options.get("signed", False)
    expected = attend(own.model, prepared(run, photographs[0]), torch.tensor([[1, 0]]), layers=layers, signed=signed)
    np.testing.assert_allclose(found["maps"], expected.maps["backbone.stage3"][0], rtol=1e-4, atol=1e-6)


def test_built_in_attention_that_is_not_there(run, photographs, tmp_path):
    with pytest.raises(ValueError, match=r"^mechanism 'built_in' needs a network with attention of its own"):
        explain(run, photographs, tmp_path / "out", mechanism="built_in", progress=False)
    for options in ({"layer": "backbone.stage3"}, {"signed": True}):
        with pytest.raises(ValueError, match=r"^layer and signed are for maps of classes; mechanism 'built_in' shows"):
            explain(built_in_run(run), photographs, tmp_path / "out", mechanism="built_in", progress=False, **options)
    assert not (tmp_path / "out").exists()


def test_photographs_are_upright_and_of_the_runs_range(run, tmp_path):
    """One picture: as bytes; of 12 bits, which the run reads over their range; and stored on its side."""
    grey = np.random.default_rng(1).integers(0, 256, (32, 40), dtype=np.uint8)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(grey).save(tmp_path / "bytes.png")
    Image.fromarray((grey / 255 * 4095).round().astype(np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(np.ascontiguousarray(grey.T[::-1])).save(tmp_path / "turned.png", exif=turned)
    reads_deep = replace(run, pixels=replace(run.pixels, value_range=(0, 4095)))
    paths = [tmp_path / f"{name}.png" for name in ("bytes", "deep", "turned")]
    explain(reads_deep, paths, tmp_path / "out", classes="dog", layer="stage2", progress=False)
    plain, *others = (np.load(tmp_path / "out" / f"{path.stem}.npz")["maps"] for path in paths)
    assert plain.max() > 0
    for other in others:
        np.testing.assert_allclose(other, plain, atol=1e-5)


@pytest.mark.parametrize("mechanism", ["grad_cam", "built_in"])
def test_a_network_that_is_not_finite_explains_nothing(mechanism, run, photographs, tmp_path):
    broken = replace(run, model=deepcopy(run.model))
    with torch.no_grad():
        broken.model.fc.bias[0] = torch.nan
    with pytest.raises(ValueError, match=r"^the network's weights 'fc\.bias' are not finite"):
        explain(broken, photographs, tmp_path / "out", mechanism=mechanism)
    assert not (tmp_path / "out").exists()


def test_paths_may_be_texts(run, photographs, tmp_path):
    written = explain(run, [str(photographs[0])], str(tmp_path / "out"), progress=False)
    assert written == [tmp_path / "out" / "attention.png", tmp_path / "out" / "first.npz"]
