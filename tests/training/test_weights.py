import pytest
import torch

from looksharp.data.sets.synthetic import digits
from looksharp.networks import build_network
from looksharp.training import train
from looksharp.training.settings import NetworkConfig, OptimizationConfig, RunConfig, TrainingConfig
from looksharp.training.weights import load_weights


@pytest.fixture(scope="module")
def data():
    return digits(train=32, val=8, test=8)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    return train(_config(), tmp_path_factory.mktemp("runs") / "first", data=data, progress=False)


def _config(weights=None, lr=0.1):
    network = NetworkConfig("small", weights=None if weights is None else str(weights))
    training = TrainingConfig(epochs=1, batch_size=16, device="cpu")
    return RunConfig(network=network, optimization=OptimizationConfig(lr=lr), training=training)


@pytest.mark.parametrize("file", ["model.safetensors", "checkpoints/last.ckpt"])
def test_weights_of_a_run(run, file):
    model = build_network("small", 10)
    load_weights(model, run.path / file)
    wanted = run.model.state_dict()
    assert model.state_dict().keys() == wanted.keys()
    assert all(torch.equal(value, wanted[name]) for name, value in model.state_dict().items())


def test_training_starts_from_them(run, data, tmp_path):
    # At a learning rate of next to nothing what is trained stays what it was.
    tuned = train(_config(run.path / "model.safetensors", 1e-12), tmp_path / "tuned", data=data, progress=False)
    for (name, value), (_, first) in zip(tuned.model.named_parameters(), run.model.named_parameters(), strict=True):
        assert torch.allclose(value, first, atol=1e-8), name
    anew = train(_config(lr=1e-12), tmp_path / "anew", data=data, progress=False)
    assert not torch.allclose(anew.model.fc.weight, run.model.fc.weight, atol=1e-3)


def test_weights_that_do_not_fit(run, tmp_path):
    model = build_network("small", 10)
    with pytest.raises(ValueError, match=r"^weights must be a run's model\.safetensors .*nothing is no file$"):
        load_weights(model, tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"safetensors are of another network: fc\.bias does not fit; check backbone$"):
        load_weights(build_network("small", 9), run.path / "model.safetensors")
    with pytest.raises(ValueError, match=r"are of another network: .* does not fit; check backbone$"):
        load_weights(build_network("small_deep", 10), run.path / "checkpoints" / "last.ckpt")
    (tmp_path / "damaged.safetensors").write_bytes(b"hello")
    with pytest.raises(ValueError, match=r"damaged\.safetensors cannot be read as weights: "):
        load_weights(model, tmp_path / "damaged.safetensors")
    (tmp_path / "damaged.ckpt").write_bytes(b"hello")
    with pytest.raises(ValueError, match=r"damaged\.ckpt cannot be read as a checkpoint"):
        load_weights(model, tmp_path / "damaged.ckpt")
