import gc
import itertools
import re
import weakref

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F
from torchvision import models

from looksharp import attend
from looksharp.attention import stages
from looksharp.attention.attend import attention_maps
from looksharp.attention.probing import probe
from looksharp.attention.recording import record
from looksharp.attention.stages import last_stages
from looksharp.networks import AttentionBranchNetwork, CifarResNet


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def conv(inputs, outputs, stride=1):
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs), nn.ReLU())


class Own(nn.Module):
    """A user's network: stages nested at several depths, in an order other than that of their definition."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(16, 5)
        self.trunk = nn.ModuleDict(
            {
                "late": nn.Sequential(nn.MaxPool2d(2), nn.Sequential(conv(8, 16), conv(16, 16))),
                "early": nn.Sequential(conv(3, 8, 2), conv(8, 8, 2), conv(8, 8)),
            }
        )
        self.dropout = nn.Dropout(0.5)

    def forward(self, images):
        features = self.trunk["late"](self.trunk["early"](images))
        return self.head(self.dropout(features.mean((2, 3))))


class OneResolution(nn.Module):
    """Convolutions that never stride; the classifier is a longer sequence than they are."""

    def __init__(self, blocks=4):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.features = nn.Sequential(*(conv(8, 8) for _ in range(blocks)), nn.AdaptiveAvgPool2d(1))
        self.classifier = nn.Sequential(nn.Flatten(), *(nn.Linear(8, 8) for _ in range(9)), nn.Linear(8, 5))

    def forward(self, images):
        return self.classifier(self.features(self.stem(images)))


def vit_timm(**kwargs):
    return timm.create_model("vit_tiny_patch16_224", num_classes=5, **kwargs)


def on_meta(build):
    """Large networks without their weights' memory."""

    def built():
        with torch.device("meta"):
            return build()

    return built


class OwnTransformer(nn.Module):
    """A user's vision transformer: its blocks return tuples, its head reads a class token, its output holds logits."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.before = nn.LayerNorm(16)
            self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
            self.after = nn.LayerNorm(16)
            self.mixed = nn.Linear(16, 16)

        def forward(self, tokens):
            read = self.before(tokens)
            tokens = tokens + self.attention(read, read, read)[0]
            return tokens + self.mixed(self.after(tokens)), None

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 8, 8)
        self.first = nn.Parameter(torch.randn(1, 1, 16))
        self.layers = nn.ModuleList(self.Block() for _ in range(4))
        self.classifier = nn.Linear(16, 5)

    def forward(self, images):
        tokens = self.patches(images).flatten(2).mT
        tokens = torch.cat([self.first.expand(len(tokens), -1, -1), tokens], 1)
        for layer in self.layers:
            tokens, _ = layer(tokens)
        return {"logits": self.classifier(tokens[:, 0])}


class Downsampled(nn.Module):
    """Stages whose last step is to halve their resolution, as in transformers' Swin."""

    class Stage(nn.Module):
        def __init__(self, last):
            super().__init__()
            self.blocks = nn.ModuleList(conv(8, 8) for _ in range(2))
            self.downsample = None if last else nn.Conv2d(8, 8, 2, 2)

        def forward(self, maps):
            for block in self.blocks:
                maps = block(maps)
            return (maps if self.downsample is None else self.downsample(maps),)

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, 4)
        self.stages = nn.ModuleList(self.Stage(number == 2) for number in range(3))
        self.classifier = nn.Linear(8, 5)

    def forward(self, images):
        maps = self.stem(images)
        for stage in self.stages:
            (maps,) = stage(maps)
        return self.classifier(maps.mean((2, 3)))


class OutOfOrder(nn.Module):
    """Its blocks have tokens in no grid: most patches are dropped."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, 4)
        self.blocks = nn.Sequential(*(nn.Sequential(nn.Linear(8, 8), nn.GELU()) for _ in range(3)))
        self.classifier = nn.Linear(8, 5)

    def forward(self, images):
        return self.classifier(self.blocks(self.stem(images).flatten(2).mT[:, :95]).mean(1))


EXPECTED = {
    "torchvision resnet18": (models.resnet18, 64, ("layer3", "layer4")),
    "torchvision vgg11": (on_meta(models.vgg11), 64, ("features.14", "features.19")),
    "torchvision densenet121": (models.densenet121, 64, ("features.denseblock3", "features.norm5")),
    "torchvision efficientnet_b0": (models.efficientnet_b0, 64, ("features.5", "features.8")),
    "torchvision mobilenet_v3_small": (models.mobilenet_v3_small, 64, ("features.8", "features.12")),
    "torchvision convnext_tiny": (on_meta(models.convnext_tiny), 64, ("features.5", "features.7")),
    "torchvision swin_t": (on_meta(models.swin_t), 64, ("features.5", "norm")),
    "torchvision vit_b_16": (
        on_meta(lambda: models.vit_b_16(image_size=32)),
        32,
        ("encoder.layers.encoder_layer_8.ln_1", "encoder.layers.encoder_layer_11.ln_1"),
    ),
    "timm resnet18": (lambda: timm.create_model("resnet18"), 64, ("layer3", "layer4")),
    "timm convnext_atto": (lambda: timm.create_model("convnext_atto"), 64, ("stages.2", "norm_pre")),
    "timm vit_tiny": (lambda: vit_timm(img_size=64), 64, ("blocks.8.norm1", "blocks.11.norm1")),
    "timm vit, not square": (lambda: vit_timm(img_size=(32, 64)), (32, 64), ("blocks.8.norm1", "blocks.11.norm1")),
    "timm vit of any size": (lambda: timm.create_model("test_vit"), 160, ("blocks.4.norm1", "blocks.5.norm1")),
    "timm vit, class token late": (
        lambda: timm.create_model("cait_xxs24_224", img_size=64),
        64,
        ("blocks.17", "blocks.23"),  # its class attention reads what the last block returns
    ),
    "timm swin_tiny": (
        lambda: timm.create_model("swin_tiny_patch4_window7_224", img_size=64, window_size=2),
        64,
        ("layers.2", "norm"),
    ),
    "timm vit, pooled": (
        lambda: vit_timm(img_size=64, global_pool="avg", class_token=False),
        64,
        ("blocks.8", "blocks.11"),
    ),
    "timm beit, pooled": (
        lambda: timm.create_model("beit_base_patch16_224", img_size=32, depth=4, embed_dim=48, num_heads=3),
        32,
        ("blocks.2", "blocks.3"),
    ),
    "timm eva, pooled": (
        lambda: timm.create_model("eva02_tiny_patch14_224", img_size=56, depth=4),
        56,
        ("blocks.2", "blocks.3"),
    ),
    "timm xcit, class attention": (
        lambda: timm.create_model("xcit_nano_12_p8_224", img_size=64),
        64,
        ("blocks.8", "blocks.11"),
    ),
    "timm crossvit": (
        lambda: timm.create_model("crossvit_tiny_240"),
        240,
        ("blocks.2.fusion.1.norm1", "blocks.2.blocks.1.3.norm1"),
    ),
    "timm pit": (
        lambda: timm.create_model("pit_ti_224"),
        224,
        ("transformers.1", "transformers.2.blocks.3.norm1"),
    ),
    "timm hiera": (
        lambda: timm.create_model("hiera_tiny_224", img_size=64, embed_dim=16, stages=(1, 1, 2, 1)),
        64,
        ("blocks.3", "blocks.4"),
    ),
    "timm levit, two strides in a sequence": (lambda: timm.create_model("levit_128s"), 224, ("stages.1", "stages.2")),
    "timm coat, joint blocks": (
        lambda: timm.models.coat.CoaT(64, 4, embed_dims=(16,) * 4, serial_depths=(1,) * 4, parallel_depth=2),
        64,
        ("parallel_blocks.1.norm13", "parallel_blocks.1.norm14"),
    ),
    "timm tnt, blocks of patches and of their pixels": (
        lambda: timm.create_model("tnt_s_patch16_224", img_size=64, depth=4, embed_dim=48, num_heads_outer=4),
        64,
        ("blocks.2.norm_out", "blocks.3.norm_out"),
    ),
    "timm sequencer, stages of one resolution": (
        lambda: timm.models.Sequencer2d(
            5, 56, layers=(1, 2, 4, 2), patch_sizes=(7, 2, 1, 1), embed_dims=(8, 64, 64, 64)
        ),
        56,
        ("stages.2.blocks.3", "stages.3.blocks.1"),
    ),
    "own windows, downsampled last": (Downsampled, 64, ("stages.1.blocks.1", "stages.2")),
    "torchvision vit, short": (
        lambda: models.VisionTransformer(32, 8, 4, 2, 32, 64),
        32,
        ("encoder.layers.encoder_layer_2.ln_1", "encoder.layers.encoder_layer_3.ln_1"),
    ),
    "own vit": (OwnTransformer, 32, ("layers.2.before", "layers.3.before")),
    "own": (Own, 32, ("trunk.early.2", "trunk.late")),
    "one resolution": (OneResolution, 16, ("features.2", "features.3")),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_last_stages(name):
    build, size, expected = EXPECTED[name]
    size = size if isinstance(size, tuple) else (size, size)
    model = build()
    images = torch.rand(2, 3, *size, device=next(model.parameters()).device)
    assert last_stages(model, images) == expected
    assert last_stages(model, images, count=1) == expected[-1:]
    if not images.is_meta:
        with record(model.eval(), expected) as features:
            model(images)
        inner, last = features.values()
        assert inner.shape[-2] >= last.shape[-2] > 1


def test_more_stages_and_wrappers():
    model, images = models.resnet18(), torch.rand(2, 3, 64, 64)
    assert last_stages(nn.DataParallel(model), images, count=4) == ("layer1", "layer2", "layer3", "layer4")


def test_stages_depend_on_the_image_size():
    model = models.resnet18()
    assert last_stages(model, torch.rand(2, 3, 32, 32)) == ("layer2", "layer3")  # layer4 is a single position


@pytest.mark.parametrize("training", [True, False])
def test_nothing_of_the_model_changes(training):
    model = Own().train(training)
    model.trunk["late"].eval()
    model.register_buffer("counter", torch.zeros(1))
    model.register_forward_pre_hook(lambda module, _: module.counter.add_(1) and None)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    buffers = dict(model.named_buffers())
    modes = [module.training for module in model.modules()]
    hooks = [len(module._forward_hooks) for module in model.modules()]
    random_state = torch.get_rng_state()
    last_stages(model, torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)))
    assert torch.equal(torch.get_rng_state(), random_state)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert all(buffers[name] is buffer for name, buffer in model.named_buffers())
    assert [module.training for module in model.modules()] == modes
    assert [len(module._forward_hooks) for module in model.modules()] == hooks
    assert all(parameter.grad is None for parameter in model.parameters())


def test_hooks_go_also_if_the_forward_fails():
    model = Own()
    with pytest.raises(RuntimeError, match="expected input"):
        last_stages(model, torch.rand(2, 4, 32, 32))
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(192, 5)), "0 (none)"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), "1 (0)"),
    ],
    ids=["no positions", "one stage"],
)
def test_too_few_stages(model, found):
    expected = f"layers must be named for Sequential at 8x8 px: of 2 stages with more than one position, found {found}"
    with pytest.raises(ValueError, match=re.escape(expected)):
        last_stages(model, torch.rand(2, 3, 8, 8))


def test_a_network_is_searched_once_for_each_image_size(monkeypatch):
    sizes = []

    def counted(network, images):
        sizes.append(tuple(images.shape[-2:]))
        return probe(network, images)

    monkeypatch.setattr(stages, "probe", counted)
    network = CifarResNet(20, 10)
    for side in (32, 48, 32, 48):
        assert last_stages(network, torch.rand(2, 3, side, side)) == ("layer2", "layer3")
    assert sizes == [(32, 32), (48, 48)]


def test_what_was_found_does_not_keep_networks_alive():
    network = CifarResNet(20, 10)
    last_stages(network, torch.rand(2, 3, 32, 32))
    reference = weakref.ref(network)
    del network
    gc.collect()
    assert reference() is None


def test_a_stage_that_runs_once_for_each_task_has_no_map_of_an_image():
    network = AttentionBranchNetwork(CifarResNet(8, 6), image_size=32, multitask=True)
    images = torch.rand(2, 3, 32, 32)
    assert last_stages(network, images) == ("backbone.layer1", "backbone.layer2")
    maps = attend(network.eval(), images, top=3).maps["backbone.layer2"]
    assert maps.shape == (2, 3, 16, 16)


def test_a_stem_is_not_taken_for_the_last_layer():
    with pytest.raises(
        ValueError,
        match=r"layers must be named for OutOfOrder: its blocks \('blocks' the last\) return tokens that fit no grid "
        r"of the image's shape; the last layer with a map is 'stem', near the images",
    ):
        last_stages(OutOfOrder(), torch.rand(2, 3, 64, 64), count=1)


def test_the_layer_found_tells_what_a_pooled_transformer_looks_at():
    """Gradient times feature at the default layer ranks patches as hiding them does, in a network that has learnt."""
    generator = torch.Generator().manual_seed(0)

    def images(count):
        """A square of one of three colours on noise; the colour is the class."""
        target = torch.randint(3, (count,), generator=generator)
        place = torch.randint(16, (count,), generator=generator)
        shown = torch.randn(count, 3, 32, 32, generator=generator) * 0.3
        for image, label, patch in zip(shown, target.tolist(), place.tolist(), strict=True):
            row, column = 8 * (patch // 4), 8 * (patch % 4)
            image[label, row : row + 8, column : column + 8] += 2
        return shown, target

    model = timm.models.VisionTransformer(
        img_size=32,
        patch_size=8,
        embed_dim=32,
        depth=3,
        num_heads=2,
        num_classes=3,
        global_pool="avg",
        class_token=False,
    )
    shown, target = images(600)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(8):
        for batch in torch.randperm(600, generator=generator).split(50):
            loss = F.cross_entropy(model(shown[batch]), target[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    shown, target = images(40)
    with torch.no_grad():
        logits = model.eval()(shown)
        assert (logits.argmax(1) == target).float().mean() > 0.9
        hidden = torch.zeros(40, 4, 4)
        for row, column in itertools.product(range(4), range(4)):
            without = shown.clone()
            without[:, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 0
            hidden[:, row, column] = (logits - model(without)).gather(1, target[:, None]).squeeze(1)
    (found,) = last_stages(model, shown, count=1)
    agreed = {layer: _agreement(model, shown, target, layer, hidden) for layer in (found, "blocks.2.norm1")}
    assert found == "blocks.2"
    (ranks, peaks), (ranks_of_norm, peaks_of_norm) = agreed[found], agreed["blocks.2.norm1"]
    assert ranks > 0.7
    assert ranks_of_norm < ranks / 2  # the residual goes past it
    assert peaks > 0.95
    assert peaks_of_norm < 0.5


def _agreement(model, images, target, layer, hidden):
    """Correlate the ranks of a map's patches with those of what hiding them costs; and count common peaks.

    Both are averages over images.
    """
    with record(model, [layer]) as features:
        logits = model(images)
    maps = attention_maps(logits, features, target[:, None], "hires_cam", signed=True)[layer][:, 0]
    ranks = [each.flatten(1).argsort(1).argsort(1).float() for each in (maps, hidden)]
    centred = [each - each.mean(1, keepdim=True) for each in ranks]
    same = maps.flatten(1).argmax(1) == hidden.flatten(1).argmax(1)
    return F.cosine_similarity(*centred).mean().item(), same.float().mean().item()


@pytest.mark.parametrize("count", [0, -1])
def test_no_stage_is_refused(count):
    with pytest.raises(ValueError, match=f"^count must be at least 1 stage; got {count}$"):
        last_stages(CifarResNet(8, 10), torch.rand(2, 3, 32, 32), count)


@pytest.mark.parametrize("depth", [2, 3])
def test_a_class_token_behind_few_blocks_and_a_large_stem(depth):
    """Blocks that hold less than half of the parameters are looked into too, since nothing reads their patches."""
    network = models.VisionTransformer(32, 8, depth, 2, 32, 64, num_classes=10)
    assert last_stages(network, torch.rand(2, 3, 32, 32), 1) == (f"encoder.layers.encoder_layer_{depth - 1}.ln_1",)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_stages_are_found_where_no_gradient_is_kept(mode):
    network, images = models.VisionTransformer(32, 8, 2, 2, 32, 64, num_classes=10), torch.rand(2, 3, 32, 32)
    with mode():
        assert last_stages(network, images, 1) == ("encoder.layers.encoder_layer_1.ln_1",)
        assert last_stages(CifarResNet(8, 10), images) == ("layer2", "layer3")
