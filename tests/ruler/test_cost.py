import pytest
import torch
from torch import nn
from torch.nn import functional as F

from looksharp.attention.attend import attend
from looksharp.networks import SmallNet
from looksharp.ruler.cost import cost_of


def test_forwards_and_backwards_are_told_apart():
    net, images = nn.Conv2d(3, 4, 3, padding=1, bias=False), torch.rand(2, 3, 8, 8, requires_grad=True)

    def explain():
        torch.autograd.grad(net(images).sum(), images)

    # The gradient with respect to the images costs as much as the forward; that of the weights is not asked for.
    assert cost_of(net, images, explain) == pytest.approx((1, 1))


def test_a_map_read_off_the_last_layer_costs_one_forward_and_an_earlier_one_a_backward_too():
    net, images = SmallNet(10, width=8).eval(), torch.rand(2, 3, 48, 48)
    attend(net, images)  # which finds the layers once
    last = cost_of(net, images, lambda: attend(net, images))
    assert last == pytest.approx((1, 0), abs=0.02)
    (name,) = attend(net, images).maps
    earlier = next(n for n, m in net.named_modules() if isinstance(m, nn.Conv2d))
    found = cost_of(net, images, lambda: attend(net, images, layers=[earlier]))
    assert name != earlier
    assert found.forwards == pytest.approx(1, abs=0.02)
    assert 0.5 < found.backwards < 1.2


def test_batches_of_any_size_cost_the_same_and_many_forwards_add_up():
    net, images = SmallNet(10, width=8).eval(), torch.rand(3, 3, 32, 32)
    assert cost_of(net, images, lambda: [net(images) for _ in range(5)]).total == pytest.approx(5)
    with torch.inference_mode():
        assert cost_of(net, images, lambda: net(images)).total == pytest.approx(1)


def test_fused_attention_counts():
    class Attention(nn.Module):
        def forward(self, x):
            return F.scaled_dot_product_attention(x, x, x)

    net, x = Attention(), torch.rand(1, 2, 5, 4)
    assert cost_of(net, x, lambda: net(x)) == pytest.approx((1, 0))
