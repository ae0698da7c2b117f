"""What a GPU computes is what the CPU computes; needs one, and is skipped without it."""

import copy

import pytest
import timm
import torch

from looksharp import GAIN, ICASC, Guidance, attend
from looksharp.attention.mechanisms import MECHANISMS
from looksharp.attention.precision import LOW_PRECISION
from looksharp.batch import Batch, BatchMarks
from looksharp.data.sets.synthetic import digits
from looksharp.evaluation import evaluate
from looksharp.networks import CifarResNet
from looksharp.training import load_run, train
from looksharp.training.settings import RunConfig

DEVICE = torch.device("cuda")
ELSEWHERE = {"captum", "gradient_rollout", "legrad", "rollout"}  # other mechanisms are for CNNs

pytestmark = [
    pytest.mark.usefixtures("without_tf32"),
    pytest.mark.skipif(DEVICE.type == "cuda" and not torch.cuda.is_available(), reason="there is no CUDA device"),
]


@pytest.fixture
def net():
    return CifarResNet(8, 5).eval()


@pytest.fixture
def batch():
    mask = torch.zeros(2, 16, 16)
    mask[:, 4:10, 3:12] = 1
    return Batch(
        torch.rand(4, 3, 16, 16),
        torch.tensor([0, 3, 1, 4]),
        BatchMarks(torch.tensor([0, 2]), torch.tensor([0, 1]), mask),
    )


@pytest.mark.parametrize("name", [name for name in MECHANISMS if name not in {*ELSEWHERE, "rise", "smooth_grad"}])
def test_maps_of_every_mechanism(name, net, batch):
    """Those aside that draw at random, which each device does in its own way."""
    layers, classes = ["layer3"] if name == "cam" else None, torch.tensor([[1, 3]]).expand(4, -1)
    expected = attend(net, batch.image, classes, mechanism=name, layers=layers)
    moved = copy.deepcopy(net).to(DEVICE)
    found = attend(moved, batch.image.to(DEVICE), classes.to(DEVICE), mechanism=name, layers=layers)
    for layer, maps in found.maps.items():
        assert maps.device.type == DEVICE.type
        scale = expected.maps[layer].abs().max()
        torch.testing.assert_close(maps.cpu() / scale, expected.maps[layer] / scale, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["rollout", "gradient_rollout", "legrad", "grad_cam"])
def test_maps_of_tokens(name):
    net = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=3, num_classes=4).eval()
    torch.nn.init.normal_(net.head.weight)
    images = torch.rand(2, 3, 32, 32)
    expected = attend(net, images, top=2, mechanism=name)
    found = attend(net.to(DEVICE), images.to(DEVICE), expected.classes.to(DEVICE), mechanism=name)
    for layer, maps in found.maps.items():
        scale = expected.maps[layer].abs().max()
        torch.testing.assert_close(maps.cpu() / scale, expected.maps[layer] / scale, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dtype", LOW_PRECISION)
@pytest.mark.parametrize(
    "objective", [ICASC(), GAIN(), GAIN() + Guidance("squared_error")], ids=["icasc", "gain", "marks"]
)
def test_autocast(objective, dtype, net, batch):
    model, batch = net.train().to(DEVICE), batch.to(DEVICE)
    expected = objective(copy.deepcopy(model), batch)
    with torch.autocast(DEVICE.type, dtype):
        step = objective(model, batch)
    assert step.loss.dtype == torch.float32
    torch.testing.assert_close(step.terms, expected.terms, rtol=0.1, atol=0.02)
    step.loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("objective", ["classification", "icasc"])
def test_a_run_is_trained_and_read_on_the_cpu(objective, precision, tmp_path):
    data = digits(32, 16, 16)
    values = {"data": "digits", "epochs": 2, "batch_size": 8, "objective": objective, "precision": precision}
    config = RunConfig.from_flat(values | {"device": DEVICE.type, "lr": 0.01, "clip": 1.0})
    run = train(config, tmp_path / "run", data=data, progress=False)
    assert all(row["train_loss"] == row["train_loss"] for row in run.history)  # NaN is not itself
    measured = [
        evaluate(load_run(run.path, device=device).model, data.splits["test"], data.pixels, suites=("classification",))
        for device in (DEVICE.type, "cpu")
    ]
    for name, value in measured[1].values.items():
        assert measured[0].values[name] == pytest.approx(value, rel=1e-3, abs=1e-3)
