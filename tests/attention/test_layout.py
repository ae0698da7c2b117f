import pytest
import timm
import torch
from torch import nn
from torchvision import models

from looksharp.attention.layout import Layout, layout_of
from looksharp.attention.recording import record
from looksharp.attention.stages import last_stages


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def outputs(model, layers, images):
    """Recorded maps, and what the layers returned as it was."""
    raw = {}
    hooks = [
        model.get_submodule(name).register_forward_hook(lambda _m, _a, output, name=name: raw.update({name: output}))
        for name in layers
    ]
    with record(model, layers) as features:
        model(images)
    for hook in hooks:
        hook.remove()
    return features, raw


@pytest.mark.parametrize(
    ("layout", "shape"),
    [
        (Layout("NCHW"), (2, 3, 4, 5)),
        (Layout("NHWC"), (2, 4, 5, 3)),
        (Layout("tokens", 0, (4, 5)), (2, 20, 3)),
        (Layout("tokens", 2, (4, 5)), (2, 22, 3)),
    ],
)
def test_from_map_is_the_inverse_of_to_map(layout, shape):
    output = torch.rand(shape)
    features = layout.to_map(output)
    assert features.shape == (2, 3, 4, 5)
    torch.testing.assert_close(layout.from_map(features, output), output, rtol=0, atol=0)
    moved = layout.from_map(features + 1, output)
    torch.testing.assert_close(layout.to_map(moved), features + 1, rtol=0, atol=0)
    if layout.prefix:
        torch.testing.assert_close(moved[:, : layout.prefix], output[:, : layout.prefix], rtol=0, atol=0)


@pytest.mark.parametrize("size", [(32, 48), (48, 32), (32, 32)])
@pytest.mark.parametrize(
    ("name", "prefix"),
    [("vit_tiny_patch16_224", 1), ("deit_tiny_distilled_patch16_224", 2)],
)
def test_tokens_lie_where_their_patches_do(name, prefix, size):
    model = timm.create_model(name, num_classes=5, img_size=size, depth=2).eval()
    features, raw = outputs(model, ["blocks.0.norm1", "patch_embed"], torch.rand(2, 3, *size))
    rows, columns = size[0] // 16, size[1] // 16
    for layer, skipped in (("blocks.0.norm1", prefix), ("patch_embed", 0)):
        assert raw[layer].shape == (2, skipped + rows * columns, 192)
        assert features[layer].shape == (2, 192, rows, columns)
        for row in range(rows):
            for column in range(columns):
                token = raw[layer][:, skipped + row * columns + column]
                torch.testing.assert_close(features[layer][:, :, row, column], token, rtol=0, atol=0)
    assert features.behind_prefix == {"blocks.0.norm1"}


def test_a_patch_changes_its_own_position():
    model = timm.create_model("vit_tiny_patch16_224", num_classes=5, img_size=(32, 48), depth=1).eval()
    images = torch.rand(1, 3, 32, 48)
    changed = images.clone()
    changed[:, :, 16:32, 32:48] += 1
    first, _ = outputs(model, ["blocks.0.norm1"], images)
    second, _ = outputs(model, ["blocks.0.norm1"], changed)
    moved = (first["blocks.0.norm1"] != second["blocks.0.norm1"]).any(1)
    assert moved.tolist() == [[[False, False, False], [False, False, True]]]


def test_torchvision_vision_transformer():
    model = models.VisionTransformer(48, 16, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=8, num_classes=5)
    layer = "encoder.layers.encoder_layer_1.ln_1"
    features, raw = outputs(model, [layer, "conv_proj"], torch.rand(2, 3, 48, 48))
    assert features[layer].shape == features["conv_proj"].shape == (2, 8, 3, 3)
    torch.testing.assert_close(features[layer][:, :, 1, 2], raw[layer][:, 1 + 5], rtol=0, atol=0)


@pytest.fixture(scope="module")
def swin():
    torch.manual_seed(0)
    return timm.create_model("swin_tiny_patch4_window7_224", num_classes=5, img_size=(64, 96), window_size=2).eval()


def test_channels_last_network(swin):
    # A convolution inside it is channels first all the same.
    layers = ["patch_embed.proj", "layers.2", "layers.3.blocks.0.norm1", "norm"]
    features, raw = outputs(swin, layers, torch.rand(1, 3, 64, 96))
    shapes = [tuple(features[layer].shape) for layer in layers]
    assert shapes == [(1, 96, 16, 24), (1, 384, 4, 6), (1, 768, 2, 3), (1, 768, 2, 3)]
    torch.testing.assert_close(features["layers.2"][0, :, 3, 5], raw["layers.2"][0, 3, 5], rtol=0, atol=0)
    torch.testing.assert_close(features["patch_embed.proj"], raw["patch_embed.proj"], rtol=0, atol=0)


def test_torchvision_channels_last_networks():
    swin = models.SwinTransformer([4, 4], 8, [1, 1], [1, 1], [2, 2], num_classes=5).eval()
    features, raw = outputs(swin, ["features.0.0", "features.1", "norm"], torch.rand(1, 3, 16, 32))
    assert [tuple(m.shape[1:]) for m in features.values()] == [(8, 4, 8), (8, 4, 8), (16, 2, 4)]
    torch.testing.assert_close(features["features.1"][0, :, 3, 6], raw["features.1"][0, 3, 6], rtol=0, atol=0)

    # ConvNeXt's LayerNorm2d is channels first, and the LayerNorm and Linear inside a block are channels last.
    blocks = [models.convnext.CNBlockConfig(8, None, 2)]
    convnext = models.ConvNeXt(blocks, num_classes=5).eval()
    layers = ["features.0.1", "features.1.0.block.2", "features.1.0.block.3", "features.1"]
    features, raw = outputs(convnext, layers, torch.rand(1, 3, 16, 32))
    assert [tuple(m.shape[1:]) for m in features.values()] == [(8, 4, 8), (8, 4, 8), (32, 4, 8), (8, 4, 8)]
    linear = "features.1.0.block.3"
    torch.testing.assert_close(features[linear][0, :, 3, 6], raw[linear][0, 3, 6], rtol=0, atol=0)


def test_patch_embedding_that_is_channels_last_by_itself():
    model = timm.create_model("test_vit", num_classes=5).eval()  # takes any image size, so tokens stay a grid
    features, raw = outputs(model, ["patch_embed", "patch_embed.proj"], torch.rand(1, 3, 160, 160))
    assert raw["patch_embed"].shape == (1, 10, 10, 64)
    assert features["patch_embed"].shape == features["patch_embed.proj"].shape == (1, 64, 10, 10)


def test_prefix_is_found_from_the_number_of_tokens():
    network = nn.Sequential(nn.Identity())
    for tokens, image_size, expected in (
        (16, (32, 32), (0, (4, 4))),
        (17, (32, 32), (1, (4, 4))),
        (21, (32, 32), (5, (4, 4))),
        (9, (32, 64), (1, (2, 4))),
        (9, (64, 32), (1, (4, 2))),
        (17, None, (1, (4, 4))),
    ):
        layout = layout_of(network, "0", torch.rand(2, tokens, 3), image_size)
        assert (layout.kind, layout.prefix, layout.grid) == ("tokens", *expected)


def test_tokens_that_fit_no_grid():
    class Tokens(nn.Module):
        def forward(self, images):
            return images.flatten(2).transpose(1, 2)[:, :60]

    model = nn.Sequential(Tokens())
    expected = r"layer '0' returns 60 tokens, which fit no grid of the shape of a 8x8 image; record a layer whose "
    with pytest.raises(ValueError, match=expected), record(model, ["0"]):
        model(torch.rand(1, 3, 8, 8))
    with pytest.raises(ValueError, match="layer '0' returns 0 tokens, which fit no grid"):
        layout_of(model, "0", torch.rand(2, 0, 3), (8, 8))


def test_outputs_without_positions():
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 5))
    expected = r"layer '1' returns a tensor of shape \(2, 5\); a map needs \(B, C, h, w\), \(B, h, w, C\) or tokens"
    with pytest.raises(ValueError, match=expected), record(model, ["1"]):
        model(torch.rand(2, 3, 4, 4))


@pytest.mark.parametrize("size", [(64, 64), (64, 96)])
def test_tokens_of_hiera_lie_where_it_rolls_them(size):
    torch.manual_seed(0)
    network = timm.create_model("hiera_tiny_224", img_size=size, embed_dim=16, stages=(1, 2, 2, 1), num_classes=2)
    images = torch.randn(2, 3, *size)
    names = [f"blocks.{number}" for number in range(6)]
    kept = {}
    hooks = [
        network.get_submodule(name).register_forward_hook(lambda _m, _a, output, name=name: kept.update({name: output}))
        for name in names
    ]
    expected = network.eval()(images)
    for hook in hooks:
        hook.remove()
    with record(network, names) as features:
        torch.testing.assert_close(network(images), expected)
    for number, name in enumerate(names):
        rolled = network.reroll(kept[name], number).permute(0, 3, 1, 2)
        torch.testing.assert_close(features[name], rolled, rtol=1e-5, atol=1e-6)
        layout = layout_of(network, name, kept[name], size)
        assert torch.equal(layout.from_map(layout.to_map(kept[name]), kept[name]), kept[name])


def test_tokens_within_windows_of_unknown_order_are_refused():
    network = timm.create_model("hiera_tiny_224", num_classes=2)
    with pytest.raises(
        ValueError, match=r"'blocks\.9' returns 100 tokens in an order that is not known; record a whole"
    ):
        layout_of(network, "blocks.9", torch.zeros(1, 100, 8), (224, 224))


def test_states_that_would_fit_a_grid_are_no_patches():
    network = timm.create_model("efficientvim_m1", num_classes=2).eval()
    with pytest.raises(
        ValueError, match=r"'norm\.0' returns states of a state-space model, which have no place in the"
    ):
        layout_of(network, "norm.0", torch.zeros(1, 49, 128), (224, 224))
    assert last_stages(network, torch.rand(2, 3, 224, 224)) == ("stages.1.downsample.dwconv1", "norm.3")


@pytest.mark.parametrize("size", [(64, 64), (64, 96)])
def test_channels_last_inside_a_network_that_says_otherwise(size):
    torch.manual_seed(0)
    network = timm.models.VisionTransformerSAM(
        size, 16, embed_dim=48, depth=2, num_heads=2, num_classes=2, neck_chans=8
    ).eval()
    kept = []
    hook = network.blocks.register_forward_hook(lambda _module, _args, output: kept.append(output))
    network(torch.randn(1, 3, *size))
    hook.remove()
    assert kept[0].shape == (1, size[0] // 16, size[1] // 16, 48)
    assert torch.equal(layout_of(network, "blocks", kept[0], size).to_map(kept[0]), kept[0].permute(0, 3, 1, 2))
    assert layout_of(network, "blocks", torch.zeros(1, 48, 8, 12), size).kind == "NCHW"
