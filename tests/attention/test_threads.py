"""Threads that share networks get the answers of one thread, and leave the process as it was."""

import copy
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import VisionTransformer

from looksharp.attention.attend import attend
from looksharp.attention.recording import record
from looksharp.attention.unfused import UnfusedAttention
from looksharp.networks import AttendAndRectify, AttentionBranchNetwork, CifarResNet, built_in_attention
from looksharp.objectives import PARTS, Classification

THREADS = 4


def vit():
    """timm's, which calls `F.scaled_dot_product_attention`."""
    return timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=2, num_classes=10)


def multi_head():
    """torchvision's, which calls `F.multi_head_attention_forward`."""
    network = VisionTransformer(32, 8, 2, 2, 32, 64, num_classes=10)
    nn.init.normal_(network.heads.head.weight)
    return network


NETWORKS = {
    "CNN": lambda: CifarResNet(8, 10),
    "ViT": vit,
    "multi-head": multi_head,
    "ABN": lambda: AttentionBranchNetwork(CifarResNet(8, 10), image_size=32),
    "WARN": lambda: AttendAndRectify(CifarResNet(8, 10), image_size=32),
}


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    return {name: build().eval() for name, build in NETWORKS.items()}


def kernels():
    cuda = torch.backends.cuda
    return cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.math_sdp_enabled(), cuda.cudnn_sdp_enabled()


def in_threads(work):
    """Call `work(place)` in every thread at once; what each returned."""
    together = threading.Barrier(THREADS)

    def begin(place):
        together.wait()
        return work(place)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(begin, range(THREADS)))


def test_attend_from_four_threads(networks):
    images = torch.rand(THREADS, 2, 3, 32, 32)
    alone = [{name: attend(copy.deepcopy(net), own, top=2) for name, net in networks.items()} for own in images]
    before = kernels()
    found = in_threads(
        lambda place: [{name: attend(net, images[place], top=2) for name, net in networks.items()} for _ in range(6)]
    )
    for own, expected in zip(found, alone, strict=True):
        for answers in own:
            for name, attention in answers.items():
                torch.testing.assert_close(attention, expected[name], rtol=0, atol=0, msg=name)
    assert kernels() == before == (True, True, True, True)
    hooks = [m._forward_hooks or m._forward_pre_hooks for net in networks.values() for m in net.modules()]
    assert not any(hooks)


def test_stages_are_found_by_several_threads_at_once(networks):
    image = torch.rand(2, 3, 32, 32)
    for name, build in NETWORKS.items():
        (layer,) = attend(networks[name], image).maps
        fresh = build().eval()
        assert in_threads(lambda _, fresh=fresh: list(attend(fresh, image).maps)) == [[layer]] * THREADS


def test_attention_that_networks_have_built_in(networks):
    images = torch.rand(THREADS, 2, 3, 32, 32)
    for name in ("ABN", "WARN"):
        network = networks[name]
        alone = [built_in_attention(network, own) for own in images]
        found = in_threads(lambda place, net=network: [built_in_attention(net, images[place]) for _ in range(6)])
        for own, expected in zip(found, alone, strict=True):
            for attention in own:
                torch.testing.assert_close(attention.logits, expected.logits, rtol=0, atol=0)
                torch.testing.assert_close(attention.maps, expected.maps, rtol=0, atol=0)


def elsewhere(act):
    """Call something in another thread and wait for it."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(act).result(timeout=60)


def test_a_forward_of_another_thread_is_not_recorded(networks):
    network, images = networks["CNN"], torch.rand(2, 2, 3, 32, 32)
    with record(network, ["layer3"]) as features:
        network(images[0])
        kept = features["layer3"]
        other = elsewhere(lambda: network(images[1]))
        assert features["layer3"] is kept
    with torch.no_grad():
        torch.testing.assert_close(other, network(images[1]))


@pytest.mark.parametrize("name", ["ViT", "multi-head"])
def test_kernels_are_chosen_for_the_recorded_calls_alone(name, networks):
    """Neither the process nor a thread beside it learns of the recording, while it lasts and after."""
    network = networks[name]
    layer = next(iter(attend(network, torch.rand(1, 3, 32, 32)).maps))
    query = torch.rand(1, 2, 4, 8, requires_grad=True)

    def kernel():
        return F.scaled_dot_product_attention(query, query, query).grad_fn.name()

    usual = kernel()
    before = kernels()
    with record(network, [layer]):
        network(torch.rand(1, 3, 32, 32))
        assert kernels() == before
        assert elsewhere(kernel) == usual
        assert kernel() != usual
    assert kernel() == usual


@pytest.mark.parametrize("name", NETWORKS)
def test_batch_norm_does_not_move(name):
    network = NETWORKS[name]().train()
    before = copy.deepcopy(network.state_dict())
    attend(network, torch.rand(2, 3, 32, 32))
    if name in ("ABN", "WARN"):
        built_in_attention(network, torch.rand(2, 3, 32, 32))
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)
    assert all(module.training for module in network.modules())


def test_maps_in_training_mode_are_those_of_the_batchs_own_statistics():
    torch.manual_seed(0)
    network, images = CifarResNet(8, 10).train(), torch.rand(4, 3, 32, 32)
    attention = attend(network, images)
    torch.testing.assert_close(attention.logits, copy.deepcopy(network)(images).detach())


def test_input_gradients_and_profiles_leave_the_kernels_alone(networks, monkeypatch):
    from looksharp.batch import Batch, BatchMarks
    from looksharp.networks.profiling import profile_side_by_side

    network, seen = copy.deepcopy(networks["ViT"]), []
    whole = type(network).forward
    monkeypatch.setattr(type(network), "forward", lambda self, x: (seen.append(kernels()), whole(self, x))[1])
    marks = BatchMarks(torch.tensor([0]), torch.tensor([1]), torch.ones(1, 32, 32))
    batch = Batch(torch.rand(2, 3, 32, 32), torch.tensor([1, 2]), marks)
    (Classification() + PARTS["rrr"]())(network, batch).loss.backward()
    profile_side_by_side([network], 32, repeats=1)
    assert len(seen) == 5
    assert set(seen) == {(True, True, True, True)}


# Attention by matrix products ------------------------------------------------------------------------------------


def explicit(query, key, value, mask=None, scale=None):
    """Softmax of the scaled products, by its definition."""
    products = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    return (products if mask is None else products + mask).softmax(-1) @ value


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_unfused_attention_by_its_definition(dtype):
    torch.manual_seed(0)
    query, key, value = torch.rand(3, 2, 4, 5, 8, dtype=dtype)
    allowed = torch.rand(5, 5) > 0.3
    allowed[:, 0] = True
    added = torch.zeros(5, 5, dtype=dtype).masked_fill(~allowed, -torch.inf)
    with UnfusedAttention():
        torch.testing.assert_close(F.scaled_dot_product_attention(query, key, value), explicit(query, key, value))
        for mask in (allowed, added):
            found = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=0.3)
            torch.testing.assert_close(found, explicit(query, key, value, added, 0.3))
        causal = torch.full((5, 5), -torch.inf, dtype=dtype).triu(1)
        found = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        torch.testing.assert_close(found, explicit(query, key, value, causal))
        shared = F.scaled_dot_product_attention(query, key[:, :2], value[:, :2], enable_gqa=True)
        twice = [x[:, :2].repeat_interleave(2, 1) for x in (key, value)]
        torch.testing.assert_close(shared, explicit(query, *twice))


@pytest.mark.parametrize("need_weights", [True, False])
def test_unfused_multi_head_attention_is_what_it_was(need_weights):
    torch.manual_seed(0)
    module = nn.MultiheadAttention(16, 2, batch_first=True).double()
    tokens = torch.rand(2, 5, 16, dtype=torch.double)
    mask = torch.full((5, 5), -torch.inf, dtype=torch.double).triu(1)
    expected = module(tokens, tokens, tokens, need_weights=need_weights, attn_mask=mask, is_causal=True)
    with UnfusedAttention():
        found = module(tokens, tokens, tokens, need_weights=need_weights, attn_mask=mask, is_causal=True)
    torch.testing.assert_close(found[0], expected[0])
    assert (found[1] is None) == (expected[1] is None)
    if need_weights:
        torch.testing.assert_close(found[1], expected[1])


def test_unfused_attention_under_autocast_has_the_precision_of_the_fused():
    torch.manual_seed(0)
    query = torch.randn(2, 4, 5, 8)
    with torch.autocast("cpu", torch.bfloat16):
        expected = F.scaled_dot_product_attention(query, query, query)
        with UnfusedAttention():
            found = F.scaled_dot_product_attention(query, query, query)
    assert found.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected, rtol=0.01, atol=0.01)


def test_inactive_it_leaves_calls_alone():
    query = torch.rand(1, 2, 4, 8, requires_grad=True)
    with UnfusedAttention(lambda: False):
        assert "flash" in F.scaled_dot_product_attention(query, query, query).grad_fn.name().lower()
