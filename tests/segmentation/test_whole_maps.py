import pytest
import torch
from torch.nn import functional as F

from looksharp.attention import rerun
from looksharp.attention.attend import attend
from looksharp.attention.maps import normalize_maps, resize_maps
from looksharp.networks import AttendAndRectify, AttentionBranchNetwork, SmallNet, build_network, built_in_attention
from looksharp.segmentation.whole_maps import WholeMaps


@pytest.fixture
def network():
    return SmallNet(5).eval()


@pytest.fixture
def images():
    return torch.randn(2, 3, 48, 48)


CLASSES = torch.tensor([[1, 4], [2, -1]])


def test_one_view_is_what_attend_shows(network, images):
    found, saliency = WholeMaps(network, "channel_weighted").of(images, CLASSES)
    (maps,) = attend(network, images, CLASSES.clamp(min=0), mechanism="channel_weighted").maps.values()
    expected = resize_maps(normalize_maps(maps), (48, 48))
    torch.testing.assert_close(found[0], expected[0])
    torch.testing.assert_close(found[1, 0], expected[1, 0])
    assert found[1, 1].eq(0).all()  # there is no second class
    assert saliency is None


@pytest.mark.parametrize("scale", [1.0, 0.75])
def test_images_are_read_as_many_at_a_time_as_one_forward_takes(network, images, scale, monkeypatch):
    read, seen = WholeMaps(network, saliency=True, saliency_scale=scale), []
    maps, saliency = read.of(images, CLASSES)
    network.register_forward_hook(lambda module, args, output: seen.append(len(output)))
    monkeypatch.setattr(rerun, "_PIXELS", {"cpu": 48 * 48})
    found, salient = read.of(images, CLASSES)
    assert set(seen) == {1}
    torch.testing.assert_close(found, maps)
    torch.testing.assert_close(salient, saliency)


def test_views_are_averaged_where_the_image_is(network, images):
    found, _ = WholeMaps(network, scales=(1.0, 1.5), mirror=True).of(images, CLASSES)
    larger = F.interpolate(images, (72, 72), mode="bilinear", antialias=True)
    views = []
    for view in (images, larger):
        for mirrored in (False, True):
            (maps,) = attend(network, view.flip(-1) if mirrored else view, CLASSES.clamp(min=0)).maps.values()
            maps = resize_maps(normalize_maps(maps), (48, 48))
            views.append(maps.flip(-1) if mirrored else maps)
    torch.testing.assert_close(found[0], torch.stack(views).mean(0)[0])


def test_saliency_is_the_gradient_of_the_true_classes_scores(network, images):
    found, saliency = WholeMaps(network, saliency=True).of(images, CLASSES)
    expected, _ = WholeMaps(network).of(images, CLASSES)
    torch.testing.assert_close(found, expected)
    assert all(parameter.grad is None for parameter in network.parameters())
    image = images[:1].clone().requires_grad_()
    logits = network(image)
    (logits[0, 1] + logits[0, 4]).backward()
    smooth = F.avg_pool2d(image.grad.abs().amax(1, keepdim=True), 3, 1, 1, count_include_pad=False)
    torch.testing.assert_close(saliency[0], normalize_maps(smooth[0, 0]))


def test_saliency_of_reduced_images(network):
    images = torch.randn(2, 3, 64, 96)
    _, saliency = WholeMaps(network, saliency=True, saliency_scale=0.75).of(images, CLASSES)
    small = F.interpolate(images, (48, 72), mode="bilinear", antialias=True)
    _, expected = WholeMaps(network, saliency=True).of(small, CLASSES)
    torch.testing.assert_close(saliency, resize_maps(expected, (64, 96)))
    _, least = WholeMaps(network, saliency=True, saliency_scale=0.1).of(images, CLASSES)  # not below 32 px
    _, expected = WholeMaps(network, saliency=True, saliency_scale=0.5).of(images, CLASSES)
    torch.testing.assert_close(least, expected)


def test_saliency_of_a_network_that_takes_one_size():
    network = build_network("vit_tiny_patch16_224", 5, image_size=(48, 48)).eval()
    images, classes = torch.randn(1, 3, 48, 48), torch.tensor([[0]])
    _, found = WholeMaps(network, saliency=True, saliency_scale=0.7).of(images, classes)
    _, expected = WholeMaps(network, saliency=True).of(images, classes)
    torch.testing.assert_close(found, expected)


def test_a_mechanism_that_runs_the_model_itself(network, images):
    found, saliency = WholeMaps(network, "occlusion:window=24,stride=12", saliency=True).of(images, CLASSES)
    (maps,) = attend(network, images, CLASSES.clamp(min=0), mechanism="occlusion:window=24,stride=12").maps.values()
    torch.testing.assert_close(found[0], resize_maps(normalize_maps(maps), (48, 48))[0])
    _, expected = WholeMaps(network, saliency=True).of(images, CLASSES)
    torch.testing.assert_close(saliency, expected)


def test_attention_that_is_built_in(images):
    network = AttentionBranchNetwork(SmallNet(5), image_size=48).eval()
    found, _ = WholeMaps(network, "built_in").of(images, CLASSES)
    (maps,) = built_in_attention(network, images).maps.values()
    expected = normalize_maps(resize_maps(normalize_maps(maps), (48, 48)))
    torch.testing.assert_close(found[0, 0], expected[0, 0])
    torch.testing.assert_close(found[0, 1], expected[0, 0])
    several = AttendAndRectify(SmallNet(5), image_size=48, layers=2).eval()
    found, saliency = WholeMaps(several, "built_in", saliency=True).of(images, CLASSES)
    assert found[0].max() <= 1
    assert found[0].max() > 0
    assert saliency.shape == (2, 48, 48)


def test_a_scale_that_a_network_does_not_take_is_refused():
    network = build_network("vit_tiny_patch16_224", 5, image_size=(32, 32)).eval()
    with pytest.raises(
        ValueError, match=r"^scales must be of sizes that the network takes; it does not take 40 x 40 px"
    ):
        WholeMaps(network, scales=(1.25,)).of(torch.randn(1, 3, 32, 32), torch.tensor([[0]]))
