"""Networks that are not the usual kind: taken, or refused in one line that says why."""

import copy

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn
from torchvision import transforms

from looksharp import Pixels, adopt, attend
from looksharp.networks import SmallNet
from looksharp.training import load_run

PLAIN = Pixels((16, 16), (0.0,) * 3, (1.0,) * 3)


class Net(nn.Module):
    """Two convolutions and a linear layer over all positions, with whatever is odd about it."""

    def __init__(self, channels=3, answer=lambda logits: logits, before=lambda images: images):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3, 2, 1), nn.ReLU()
        )
        self.head = nn.Linear(6 * 16, 3)
        self.answer, self.before = answer, before

    def forward(self, images):
        return self.answer(self.head(self.body(self.before(images)).flatten(1)))


class TwoInputs(Net):
    def forward(self, images, metadata):
        return super().forward(images) + metadata


def taken(model, pixels=PLAIN, **others):
    return adopt(model, classes="a,b,c", pixels=pixels, progress=False, **others)


def refused(model, message, pixels=PLAIN):
    with pytest.raises(ValueError, match=message) as caught:
        taken(model, pixels)
    assert "\n" not in str(caught.value)


def maps_by_autograd(network, images, label):
    """Grad-CAM of the last convolution's ReLU by hand."""
    features = network.body(network.before(images))
    logits = network.head(features.flatten(1))
    (gradient,) = torch.autograd.grad(logits[:, label].sum(), features)
    return (gradient.mean((2, 3), keepdim=True) * features).sum(1).clamp(min=0)


@pytest.mark.parametrize(
    "answer",
    [
        lambda logits: {"logits": logits, "features": logits},
        lambda logits: (logits, logits.sum()),
        lambda logits: {"prediction": logits},
    ],
    ids=["dictionary", "tuple", "another key"],
)
def test_no_pooled_head_and_other_outputs(answer):
    network, images = Net(answer=answer).eval(), torch.rand(2, 3, 16, 16)
    run = taken(network)
    _, _, maps = attend(run.model, images, torch.tensor([[1], [1]]))
    (found,) = maps.values()
    torch.testing.assert_close(found[:, 0], maps_by_autograd(network, images, 1).detach(), rtol=1e-4, atol=1e-6)


def test_outputs_in_which_logits_cannot_be_told_are_refused():
    refused(
        Net(answer=lambda logits: {"coarse": logits, "fine": logits}),
        r"^model Net: output must be logits .* \(it has coarse, fine\); write a function",
    )
    refused(Net(answer=lambda logits: logits[:, :, None]), r"^model Net: output must be logits")
    refused(Net(answer=lambda logits: logits[:1]), r"^model Net returns 1 rows of logits for 2 images")
    refused(
        Net(answer=lambda logits: logits[:, :1]), r"^model Net answers with one number; adopt takes a logit for each"
    )


def test_two_inputs_are_refused_by_name():
    refused(
        TwoInputs(), r"^model TwoInputs needs 2 inputs, images, metadata, where only images are known; write a func"
    )


def test_a_normalisation_inside_is_stated_by_mean_0_and_std_1(own_code, looksharp, fails, tmp_path):
    own_code(
        "mine_normalised",
        "from torch import nn\nfrom torchvision.transforms import Normalize\nfrom looksharp.networks import SmallNet\n"
        "def make():\n    return nn.Sequential(Normalize([0.5] * 3, [0.25] * 3), SmallNet(3))\n",
    )
    flags = ("--classes", "a,b,c", "--image_size", 16, "--out", tmp_path / "run", "--device", "cpu")
    line = fails("adopt", "mine_normalised:make", *flags)
    assert line.endswith("state it by --mean, --std (--mean 0 --std 1 if the model normalises its input itself)")
    out, _ = looksharp("adopt", "mine_normalised:make", "--mean", 0, "--std", 1, *flags)
    assert "16 x 16 px, mean 0 0 0, std 1 1 1, as given" in out
    assert "as mine_normalised:make returns them" in out
    run = load_run(tmp_path / "run", device="cpu")
    images = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    inside = (images.float() / 255 - 0.5) / 0.25
    expected = run.model[1](inside)
    torch.testing.assert_close(run.model(run.pixels.normalize(images)), expected, rtol=0, atol=1e-5)


def test_one_channel_reads_colours_as_grey(tmp_path, own_code, looksharp):
    own_code(
        "mine_grey", "from looksharp.networks import SmallNet\ndef make():\n    return SmallNet(3, in_channels=1)\n"
    )
    torch.manual_seed(3)
    network = SmallNet(3, in_channels=1).eval()
    torch.save(network.state_dict(), tmp_path / "w.pt")
    flags = ("--classes", "a,b,c", "--image_size", 16, "--mean", 0.4, "--std", 0.2, "--device", "cpu")
    for name, folder in (("mine_grey:make", "own"), ("small", "named")):
        out, _ = looksharp("adopt", name, "--weights", tmp_path / "w.pt", *flags, "--out", tmp_path / folder)
        assert "one channel: colours are converted to grey, 0.299 R + 0.587 G + 0.114 B" in out
        run = load_run(tmp_path / folder, device="cpu")
        pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        grey = torch.tensor(np.array(Image.fromarray(pixels).convert("L")))[None, None].float() / 255
        images = run.pixels.normalize(torch.tensor(pixels).permute(2, 0, 1))[None]
        # PIL rounds to whole levels; of a picture that is grey already nothing is rounded.
        torch.testing.assert_close(run.model(images), network((grey - 0.4) / 0.2), rtol=0.01, atol=0.02)
        flat = torch.tensor(pixels[..., :1].repeat(3, 2)).permute(2, 0, 1)
        expected = network((flat[None, :1].float() / 255 - 0.4) / 0.2)
        torch.testing.assert_close(run.model(run.pixels.normalize(flat)[None]), expected, rtol=0, atol=1e-5)


def test_a_network_without_a_classifier_is_refused():
    features = timm.create_model("test_resnet", num_classes=0)
    refused(features, r"^model ResNet has no classifier: its output is features; ", Pixels((32, 32)))


def test_other_channels_are_refused():
    refused(
        Net(channels=4), r"^model Net reads images of 4 channels, but image files have three; write a function that"
    )


def test_half_precision_is_raised_to_single(tmp_path, capsys):
    network = Net().eval()
    for dtype in (torch.float16, torch.bfloat16):
        half = copy.deepcopy(network).to(dtype)
        run = taken(copy.deepcopy(half))
        assert {p.dtype for p in run.model.parameters()} == {torch.float32}
        torch.testing.assert_close(run.model(torch.ones(1, 3, 16, 16)), half.float()(torch.ones(1, 3, 16, 16)))
    small = SmallNet(3).eval()
    torch.save(small.half().state_dict(), tmp_path / "half.pt")
    capsys.readouterr()
    run = adopt("small", weights=tmp_path / "half.pt", classes="a,b,c", pixels=PLAIN, device="cpu")
    assert "half.pt; raised from float16 to float32" in capsys.readouterr().err
    torch.testing.assert_close(run.model(torch.ones(1, 3, 16, 16)), small.float()(torch.ones(1, 3, 16, 16)))


def test_a_model_in_hand_in_half_precision_is_copied_and_said(capsys):
    half = Net().half().eval()
    run = adopt(half, classes="a,b,c", pixels=PLAIN)
    assert "float16 parameters are raised to float32" in capsys.readouterr().err
    assert {p.dtype for p in half.parameters()} == {torch.float16}
    assert run.model is not half


def test_what_lets_no_gradient_pass_is_refused():
    refused(
        Net(answer=lambda logits: logits.detach()),
        r"^model Net lets no gradient pass from its logits to the images, which maps need; adopt it without no_grad",
    )
    refused(Net(answer=lambda logits: (logits.argmax(1, keepdim=True) == torch.arange(3)).float()), "lets no gradient")


@pytest.mark.filterwarnings("ignore")  # torch.ao is deprecated
def test_quantized_networks_are_refused():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 196, 3)).eval()
    quantized = torch.ao.quantization.quantize_dynamic(network, {nn.Linear}, dtype=torch.qint8)
    refused(quantized, r"^model Sequential is quantized \(3\): no gradient passes it; adopt the model before that$")


def test_another_size_than_the_network_takes_is_said():
    refused(Net(), r"^model Net does not take images of 20 x 20 px: .*; check --image_size$", Pixels((20, 20)))


def test_the_transform_that_a_model_had_states_its_pixels():
    steps = [transforms.Resize(20), transforms.CenterCrop(16), transforms.ToTensor()]
    normalise = transforms.Normalize([0.1, 0.2, 0.3], [0.5, 0.6, 0.7])
    run = taken(Net(), transforms.Compose([*steps, normalise]))
    assert (run.pixels.size, run.pixels.resized) == ((16, 16), (20, 20))
    assert (run.pixels.mean, run.pixels.std) == ((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    lost = transforms.Compose([*steps, transforms.Lambda(lambda image: image * 2)])
    refused(Net(), r"Lambda.*cannot be reproduced; state the pixels by --image_size, --resize_size, ", lost)


def test_modes_are_those_of_evaluation_and_gradients_stay_away():
    network = Net().train()
    statistics = network.body[1].running_mean.clone()
    run = taken(network)
    assert not run.model.training
    assert torch.equal(network.body[1].running_mean, statistics)
    assert all(p.grad is None for p in network.parameters())


def test_wrappers_are_unwrapped():
    network = Net()
    assert taken(nn.DataParallel(network)).model is network
