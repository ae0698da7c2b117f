"""Transformers by their attention weights: three libraries against loops over weights that hooks read."""

import copy
import functools
import gc
import weakref

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import VisionTransformer
from transformers import (
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersForImageClassification,
    SiglipConfig,
    SiglipForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

from looksharp import attend
from looksharp.attention.tokens import attend_tokens, tokens_of
from looksharp.objectives import ICASC

CLASSES, BATCH = 5, 2
SMALL = {"img_size": 32, "patch_size": 8, "depth": 3, "embed_dim": 24, "num_heads": 3, "num_classes": CLASSES}
CONFIG = {
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "intermediate_size": 96,
    "image_size": 32,
    "patch_size": 8,
    "num_labels": CLASSES,
}
MECHANISMS = ("rollout", "gradient_rollout", "legrad")


def livelier(network):
    """Make weights large, so that attention is far from even; evaluation mode."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3, generator=generator)
            elif parameter.abs().max() < 1e-3:
                parameter.fill_(0.1)
    return network.eval()


def of_timm(name="vit_tiny_patch16_224", **changed):
    return livelier(timm.create_model(name, **{**SMALL, **changed}))


TORCHVISION = {
    "cls_token": "class_token",
    "pos_embed": "encoder.pos_embedding",
    "patch_embed.proj": "conv_proj",
    "blocks.": "encoder.layers.encoder_layer_",
    "norm1": "ln_1",
    "norm2": "ln_2",
    "attn.qkv.": "self_attention.in_proj_",
    "attn.proj": "self_attention.out_proj",
    "mlp.fc1": "mlp.0",
    "mlp.fc2": "mlp.3",
    "norm.": "encoder.ln.",
    "head.": "heads.head.",
}
TRANSFORMERS = {
    "cls_token": "vit.embeddings.cls_token",
    "pos_embed": "vit.embeddings.position_embeddings",
    "patch_embed.proj": "vit.embeddings.patch_embeddings.projection",
    "blocks.": "vit.layers.",
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.o_proj",
    "norm.": "vit.layernorm.",
    "head.": "classifier.",
}


def renamed(state, names):
    found = {}
    for ours, values in state.items():
        name = functools.reduce(lambda name, pair: name.replace(*pair), names.items(), ours)
        if ".attn.qkv." in name:
            for letter, part in zip("qkv", values.chunk(3), strict=True):
                found[name.replace("attn.qkv", f"attention.{letter}_proj")] = part
        else:
            found[name] = values
    return found


def as_torchvision(network):
    made = VisionTransformer(32, 8, 3, 3, 24, 96, num_classes=CLASSES)
    made.load_state_dict(renamed(network.state_dict(), TORCHVISION))
    return made.eval()


def as_transformers(network, attention="sdpa"):
    made = ViTForImageClassification(ViTConfig(**CONFIG, layer_norm_eps=1e-6, attn_implementation=attention))
    made.load_state_dict(renamed(network.state_dict(), TRANSFORMERS))
    return made.eval()


@pytest.fixture(scope="module")
def images():
    return torch.randn(BATCH, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def classes():
    return torch.tensor([[3, 0, 4], [1, 2, 0]])


def found_by(mechanism, network, images, classes):
    (maps,) = attend(network, images, classes, mechanism=mechanism).maps.values()
    return maps


def hooked(network, images):
    """Run timm's unfused attention; return logits, weights (B, heads, N, N) by hooks on their dropout, and outputs."""
    network = copy.deepcopy(network)
    weights, outputs = [], []
    for block in network.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda _m, args, _o: weights.append(args[0]))
        block.register_forward_hook(lambda _m, _a, output: outputs.append(output))
    return network(images), weights, outputs, network


TIMM = {
    "class token": (of_timm, [0], 1),
    "distillation token": (lambda: of_timm("deit_tiny_distilled_patch16_224"), [0, 1], 2),
    "mean of patches": (lambda: of_timm(global_pool="avg"), list(range(1, 17)), 1),
    "registers": (lambda: of_timm("vit_small_patch14_reg4_dinov2"), [0], 5),
    "no class token": (lambda: of_timm(global_pool="avg", class_token=False), list(range(16)), 0),
}


@pytest.fixture(params=TIMM, scope="module")
def token_model(request):
    build, read, prefix = TIMM[request.param]
    return build(), read, prefix


def as_maps(relevance, prefix):
    return relevance[..., prefix:].unflatten(-1, (4, 4)).detach()


def test_rollout(token_model, images, classes):
    network, read, prefix = token_model
    _, weights, _, _ = hooked(network, images)
    rollout = torch.eye(weights[0].shape[-1]).expand(BATCH, -1, -1)
    for layer in weights:
        rollout = (0.5 * layer.mean(1) + 0.5 * torch.eye(layer.shape[-1])) @ rollout
    expected = as_maps(rollout[:, read].mean(1), prefix)
    found = found_by("rollout", network, images, classes)
    assert found.shape == (BATCH, 3, 4, 4)
    for k in range(3):
        torch.testing.assert_close(found[:, k], expected)


def test_gradient_rollout(token_model, images, classes):
    network, read, prefix = token_model
    logits, weights, _, _ = hooked(network, images)
    found = found_by("gradient_rollout", network, images, classes)
    for image in range(BATCH):
        for k, label in enumerate(classes[image]):
            gradients = torch.autograd.grad(logits[image, label], weights, retain_graph=True)
            relevance = torch.eye(weights[0].shape[-1])
            for layer, gradient in zip(weights, gradients, strict=True):
                relevance = relevance + (layer[image] * gradient[image]).clamp(min=0).mean(0) @ relevance
            expected = (relevance - torch.eye(len(relevance)))[read].mean(0)
            assert expected.max() > 0
            torch.testing.assert_close(found[image, k], as_maps(expected, prefix), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("last", [None, 2])
def test_legrad(token_model, images, classes, last):
    network, _, prefix = token_model
    _, weights, outputs, hooked_network = hooked(network, images)
    mechanism = "legrad" if last is None else f"legrad:{last}"
    found = found_by(mechanism, network, images, classes)
    for image in range(BATCH):
        for k, label in enumerate(classes[image]):
            terms = []
            for layer, tokens in list(zip(weights, outputs, strict=True))[-(last or 3) :]:
                score = hooked_network.forward_head(hooked_network.norm(tokens))[image, label]
                (gradient,) = torch.autograd.grad(score, layer, retain_graph=True)
                terms.append(gradient[image].clamp(min=0).mean(0).mean(0))
            expected = torch.stack(terms).mean(0)
            assert expected.max() > 0
            torch.testing.assert_close(found[image, k], as_maps(expected, prefix), rtol=1e-4, atol=1e-7)


@pytest.fixture(scope="module")
def pooling():
    return of_timm("vit_base_patch16_siglip_224")


def pooled(pool, tokens):
    """Compute timm's attention pooling with its weights (B, heads, 1, N) as a tensor of their own."""
    query = pool.q(pool.latent.expand(len(tokens), -1, -1)).unflatten(-1, (3, -1)).transpose(1, 2)
    key, value = pool.kv(tokens).unflatten(-1, (2, 3, -1)).permute(2, 0, 3, 1, 4)
    weights = ((pool.q_norm(query) * pool.scale) @ pool.k_norm(key).mT).softmax(-1)
    out = pool.proj((weights @ value).transpose(1, 2).flatten(2))
    return weights, (out + pool.mlp(pool.norm(out)))[:, 0]


def test_an_attention_that_pools(pooling, images, classes):
    _, weights, outputs, network = hooked(pooling, images)
    pool, attended = pooled(network.attn_pool, network.norm(outputs[-1]))
    logits = network.head(network.fc_norm(attended))
    torch.testing.assert_close(logits, pooling(images))

    rollout = torch.eye(16).expand(BATCH, -1, -1)
    for layer in weights:
        rollout = 0.5 * (layer.mean(1) + torch.eye(16)) @ rollout
    expected = as_maps((pool.mean(1) @ rollout)[:, 0], 0)
    torch.testing.assert_close(found_by("rollout", pooling, images, classes)[:, 0], expected)

    gradient_rollout, legrad = (found_by(name, pooling, images, classes) for name in MECHANISMS[1:])
    each = [pooled(network.attn_pool, network.norm(tokens)) for tokens in outputs]
    for image in range(BATCH):
        for k, label in enumerate(classes[image]):
            *gradients, last = torch.autograd.grad(logits[image, label], [*weights, pool], retain_graph=True)
            relevance = torch.eye(16)
            for layer, gradient in zip(weights, gradients, strict=True):
                relevance = relevance + (layer[image] * gradient[image]).relu().mean(0) @ relevance
            row = (pool[image] * last[image]).relu().mean(0) @ relevance
            torch.testing.assert_close(gradient_rollout[image, k], as_maps(row[0], 0), rtol=1e-4, atol=1e-6)
            terms = []
            for layer_pool, layer_attended in each:
                score = network.head(network.fc_norm(layer_attended))[image, label]
                terms.append(torch.autograd.grad(score, layer_pool, retain_graph=True)[0][image].relu().mean(0)[0])
            expected = as_maps(torch.stack(terms).mean(0), 0)
            torch.testing.assert_close(legrad[image, k], expected, rtol=1e-4, atol=1e-7)


class Even(nn.Module):
    """A block whose query and key are zero: each token gets the mean of all beside its own value."""

    def forward(self, tokens):
        value = tokens.unsqueeze(1)  # one head
        zero = torch.zeros_like(value)
        return tokens + F.scaled_dot_product_attention(zero, zero, value)[:, 0]


class TwoLayers(nn.Module):
    """A class token of zeros and the pixels themselves, two even layers, and classes by directions."""

    def __init__(self, directions):
        super().__init__()
        self.blocks = nn.Sequential(Even(), Even())
        self.head = nn.Linear(*directions.shape[::-1], bias=False)
        self.head.weight = nn.Parameter(directions)

    def forward(self, images):
        pixels = images.flatten(2).mT
        tokens = torch.cat([torch.zeros_like(pixels[:, :1]), pixels], 1)
        return self.head(self.blocks(tokens)[:, 0])


def test_two_even_layers_in_closed_form():
    directions = torch.tensor([[1.0, 0.0, -1.0], [0.0, 2.0, 0.0]])
    image = torch.tensor([[[1.0, 2.0], [0.0, -1.0]], [[0.5, 0.0], [-2.0, 1.0]], [[0.0, 1.0], [3.0, -1.0]]])[None]
    network, n = TwoLayers(directions), 5
    labels = torch.tensor([[0, 1]])

    # Each layer is half identity and half even: of two, 2 * 1/2 * 1/(2 N) + 1/(4 N) goes from the class token to each.
    assert torch.allclose(found_by("rollout", network, image, labels), torch.full((1, 2, 2, 2), 0.75 / n))

    for k, direction in enumerate(directions):
        pixels = image[0].flatten(1).T @ direction  # what each says of the class; the class token's own is 0
        mean = pixels.sum() / n
        entered = pixels + mean  # the same after the first layer, each token with the mean
        second = entered.relu() / n  # the row of the class token in the last layer's A
        on_class = mean.relu() / n
        # The logit is w (z_0 + mean of z): the first layer's row i reaches it by 1/N, the class token's by 1 + 1/N.
        share = torch.full((n,), 1 / n)
        share[0] += 1
        first = (share[:, None] * pixels[None]).relu() / n  # (from, to a pixel)
        expected = second + (1 + on_class) * first[0] + second @ first[1:]
        found = found_by("gradient_rollout", network, image, labels)[0, k]
        torch.testing.assert_close(found, expected.view(2, 2))
        # Of each layer's own score the class token's row is w z_j, and all other queries' rows are 0.
        own = (pixels.relu() / n + entered.relu() / n) / 2
        torch.testing.assert_close(found_by("legrad", network, image, labels)[0, k], own.view(2, 2))


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_three_libraries_give_the_same_maps_of_the_same_weights(mechanism, images, classes):
    network = of_timm()
    expected = found_by(mechanism, network, images, classes)
    assert expected.std() > 0
    unfused = copy.deepcopy(network)
    for block in unfused.blocks:
        block.attn.fused_attn = False
    for other in (as_torchvision(network), as_transformers(network), as_transformers(network, "eager"), unfused):
        torch.testing.assert_close(found_by(mechanism, other, images, classes), expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_weights_equal_those_that_transformers_returns(attention, images):
    network = of_timm()
    expected = as_transformers(network, "eager")(images, output_attentions=True).attentions
    found = attend_tokens(as_transformers(network, attention), images).weights
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine.values, theirs)


def test_transformers_networks_with_other_heads(images):
    registers = livelier(Dinov2WithRegistersForImageClassification(Dinov2WithRegistersConfig(**CONFIG)))
    assert tokens_of(registers, images).read.tolist() == pytest.approx([1 / 17, 0, 0, 0, 0] + [1 / 17] * 16)
    # Its pooling attention runs, and the classifier reads the mean of the patches.
    vision = {key: value for key, value in CONFIG.items() if key != "num_labels"}
    text = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    siglip = SiglipForImageClassification(SiglipConfig(vision_config=vision, text_config=text, num_labels=CLASSES))
    assert tokens_of(livelier(siglip), images).read.tolist() == pytest.approx([1 / 16] * 16)
    for network in (registers, siglip):
        for mechanism in MECHANISMS:
            assert found_by(mechanism, network, images, torch.zeros(BATCH, 1, dtype=torch.long)).shape == (
                BATCH,
                1,
                4,
                4,
            )


def test_a_new_classifier_of_zeros_tells_what_it_reads(images):
    network = of_timm()
    nn.init.zeros_(network.head.weight)
    assert tokens_of(network, images).read.tolist() == [1.0] + [0.0] * 16


def test_images_that_are_not_square():
    network = of_timm(img_size=(16, 48))
    images = torch.randn(BATCH, 3, 16, 48)
    for mechanism in MECHANISMS:
        assert attend(network, images, top=2, mechanism=mechanism).maps["blocks.0"].shape == (BATCH, 2, 2, 6)


REFUSED = {
    "ResNet computes no attention": lambda: timm.create_model("resnet18", num_classes=3),
    "SwinTransformer attends within windows .*'layers.0.blocks.0.attn": lambda: timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=64, window_size=2, embed_dim=24, depths=(1, 1, 2, 1)
    ),
    "Xcit does not attend from each token to each": lambda: timm.create_model(
        "xcit_nano_12_p16_224", img_size=64, depth=2, embed_dim=64, num_heads=4
    ),
    "Hiera attends within windows": lambda: timm.create_model(
        "hiera_tiny_224", img_size=64, embed_dim=16, stages=(1, 1, 2, 1)
    ),
    r"Cait does not attend .* shape \(1, 17\)": lambda: timm.create_model(
        "cait_xxs24_224", img_size=64, patch_size=16, depth=2, embed_dim=24, num_heads=3
    ),
}


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("message", REFUSED)
def test_what_has_no_global_attention_is_refused_in_one_line(message, mechanism):
    network = REFUSED[message]().eval()
    with pytest.raises(ValueError, match=message) as error:
        attend(network, torch.randn(2, 3, 64, 64), mechanism=mechanism)
    assert "\n" not in str(error.value)


class Shared(TwoLayers):
    """The same block twice."""

    def __init__(self):
        super().__init__(torch.eye(3))
        block = Even()
        self.blocks = nn.Sequential(block, block)


class OtherTokens(TwoLayers):
    """A block less tokens from the first to the second layer."""

    def forward(self, images):
        tokens = self.blocks[0](images.flatten(2).mT)
        return self.head(self.blocks[1](tokens[:, :9]).mean(1))


class NotInBlocks(nn.Module):
    """Attentions, with what is around them outside of any module of their own."""

    def __init__(self):
        super().__init__()
        self.first, self.second = (
            nn.MultiheadAttention(3, 1, batch_first=True),
            nn.MultiheadAttention(3, 1, batch_first=True),
        )

    def forward(self, images):
        tokens = images.flatten(2).mT
        for layer in (self.first, self.second):
            tokens = tokens + layer(tokens, tokens, tokens)[0]
        return tokens.mean(1)


def test_other_refusals():
    with pytest.raises(ValueError, match=r"Shared attends more than once in 'blocks\.0'"):
        attend(Shared(), torch.randn(2, 3, 4, 4), mechanism="rollout")
    with pytest.raises(ValueError, match="OtherTokens has layers of 9 and 16 tokens"):
        attend(OtherTokens(torch.eye(3)), torch.randn(2, 3, 4, 4), mechanism="rollout")
    network = NotInBlocks().eval()
    assert attend(network, torch.randn(2, 3, 4, 4), mechanism="gradient_rollout").maps["first"].shape == (2, 1, 4, 4)
    for count in (1, 2):
        with pytest.raises(
            ValueError, match=r"NotInBlocks does not classify the tokens of each block: .* 'second' does"
        ):
            attend(network, torch.randn(count, 3, 4, 4), mechanism="legrad")
    with pytest.raises(ValueError, match=r"legrad\.last must be at most 3, the network's layers; got 4"):
        attend(of_timm(), torch.randn(2, 3, 32, 32), mechanism="legrad:4")
    for mechanism in MECHANISMS:
        with pytest.raises(ValueError, match="has no evidence against a class"):
            attend(of_timm(), torch.randn(2, 3, 32, 32), mechanism=mechanism, signed=True)
        with pytest.raises(
            ValueError, match=f"mechanism '{mechanism}' cannot be trained on, since it runs the network"
        ):
            ICASC(mechanism=mechanism)


def state_of(network):
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in network.modules()]
    fused = [getattr(m, "fused_attn", None) for m in network.modules()]
    values = [value.clone() for value in network.state_dict().values()]
    grads = [None if p.grad is None else p.grad.clone() for p in network.parameters()]
    return (
        hooks,
        fused,
        values,
        grads,
        [m.training for m in network.modules()],
        [p.requires_grad for p in network.parameters()],
    )


def same(left, right):
    if isinstance(left, torch.Tensor):
        return torch.equal(left, right)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("training", [False, True])
def test_nothing_of_the_network_changes(mechanism, training, images):
    network = of_timm(drop_path_rate=0.1).train(training)
    network(images).sum().backward()
    before, random = state_of(network), torch.get_rng_state()
    attention = F.scaled_dot_product_attention
    attend(network, images, mechanism=mechanism)
    assert same(state_of(network), before)
    assert training or torch.equal(torch.get_rng_state(), random)
    assert F.scaled_dot_product_attention is attention
    calls = iter([None])
    failing = network.norm.register_forward_hook(lambda *_: next(calls))
    attend(network, images, mechanism=mechanism)  # one forward is enough
    with pytest.raises(StopIteration):
        attend(network, images, mechanism=mechanism)
    failing.remove()
    assert same(state_of(network), before)


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("build", [of_timm, lambda: as_torchvision(of_timm())], ids=["timm", "torchvision"])
def test_what_was_recorded_is_freed_without_garbage_collection(mechanism, build, images):
    network, outputs = build(), []
    attend(network, images, mechanism=mechanism)
    last = [module for module in network.modules() if isinstance(module, nn.LayerNorm)][-1]
    hook = last.register_forward_hook(lambda _m, _a, output: outputs.append(weakref.ref(output)))
    gc.collect()
    gc.disable()
    try:
        attend(network, images, mechanism=mechanism)
        assert [output() for output in outputs] == [None]
    finally:
        gc.enable()
        hook.remove()


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_frozen_and_without_gradients(mechanism, images, classes):
    network = of_timm()
    expected = found_by(mechanism, network, images, classes)
    network.requires_grad_(False)
    with torch.no_grad():
        torch.testing.assert_close(found_by(mechanism, network, images, classes), expected)
    with torch.inference_mode():
        found = found_by(mechanism, network, images.clone(), classes)
    torch.testing.assert_close(found, expected)
    assert not found.requires_grad


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_classes_and_images_do_not_mix(mechanism, images, classes):
    network = of_timm()
    found = found_by(mechanism, network, images, classes)
    for image in range(BATCH):
        for k in range(3):
            single = found_by(mechanism, network, images[image : image + 1], classes[image : image + 1, k])
            torch.testing.assert_close(found[image, k], single[0, 0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_precision(mechanism, dtype, images, classes):
    network = of_timm()
    expected = found_by(mechanism, network, images, classes)
    found = found_by(mechanism, network.to(dtype), images.to(dtype), classes)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    tolerance = 1e-4 if dtype == torch.float64 else 0.2
    assert (found - expected).abs().max() < tolerance * expected.abs().max()


def test_one_attention_in_a_block_or_outside_of_any(images, classes):
    network = of_timm(depth=1)
    assert tokens_of(network, images).blocks == ("blocks.0",)
    _, (weights,), _, _ = hooked(network, images)
    expected = as_maps(0.5 * weights.mean(1)[:, 0], 1)  # half of the class token's own row; its identity is no patch's
    torch.testing.assert_close(found_by("rollout", network, images, classes)[:, 0], expected)
    alone = NotInBlocks()
    alone.forward = lambda images: alone.first(*[images.flatten(2).mT] * 3)[0].mean(1)
    assert tokens_of(alone.eval(), torch.randn(2, 3, 4, 4)).blocks == ("first",)


class Unread(nn.Module):
    """Attends, and classifies the pixels that it had before."""

    def __init__(self):
        super().__init__()
        self.block = Even()

    def forward(self, images):
        self.block(images.flatten(2).mT)
        return images.mean((2, 3))


class Maps(TwoLayers):
    """Blocks that return maps (B, h, w, C)."""

    def forward(self, images):
        maps = images.permute(0, 2, 3, 1)
        for block in self.blocks:
            maps = block(maps)
        return self.head(maps.mean((1, 2)))


class EvenOfMaps(Even):
    def forward(self, maps):
        return super().forward(maps.flatten(1, 2)).view_as(maps)


def test_attention_that_is_not_read_or_not_in_tokens():
    images = torch.randn(2, 3, 4, 4)
    message = r"^the classifier of Unread reads nothing of its last attention, 'block'$"
    with pytest.raises(ValueError, match=message):
        tokens_of(Unread(), images)
    network = Maps(torch.eye(3))
    network.blocks = nn.Sequential(EvenOfMaps(), EvenOfMaps())
    assert found_by("rollout", network, images, torch.zeros(2, 1, dtype=torch.long)).shape == (2, 1, 4, 4)
    message = r"^Maps does not classify the tokens of each block: block 'blocks\.0' does not return tokens \(B, N, C\)$"
    with pytest.raises(ValueError, match=message):
        attend(network, images, mechanism="legrad")


@pytest.mark.parametrize("mechanism", MECHANISMS[:2])
def test_an_error_of_the_network_itself_is_left_as_it_is(mechanism, images):
    network = of_timm()
    tokens_of(network, images)

    def fails(*_):
        raise RuntimeError("out of memory")

    hook = network.norm.register_forward_hook(fails)
    with pytest.raises(RuntimeError, match=r"^out of memory$"):
        attend(network, images, mechanism=mechanism)
    hook.remove()
    assert attend(network, images, mechanism=mechanism).maps
