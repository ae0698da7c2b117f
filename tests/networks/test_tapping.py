import pytest
import torch
from torch import nn

from looksharp.networks import SmallNet
from looksharp.networks.tapping import tap


class Named(nn.Module):
    """Returns its maps by name, not as a tensor."""

    def forward(self, images):
        return {"maps": images[:, :1]}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.named, self.spare = nn.Conv2d(3, 4, 3, 2, 1), Named(), nn.Identity()

    def forward(self, images):
        return self.named(self.stem(images))["maps"].mean((2, 3))


@pytest.mark.parametrize("layer", ["named", "spare"])
def test_a_layer_that_returns_no_tensor_or_does_not_run_has_no_map(layer):
    network, images = Net(), torch.rand(2, 3, 8, 8)
    with tap(network, ["stem", layer]) as taps:
        network(images)
    assert torch.equal(taps.features("stem", images), network.stem(images))
    message = f"^layer '{layer}' did not return a tensor: it has no map; name another one$"
    with pytest.raises(ValueError, match=message):
        taps.features(layer, images)


def test_what_the_classifier_reads_is_kept_and_hooks_go():
    network, images = SmallNet(3, width=4).eval(), torch.rand(2, 3, 16, 16)
    with tap(network, [], "fc") as taps:
        logits = network(images)
    torch.testing.assert_close(network.fc(taps.classified), logits)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
