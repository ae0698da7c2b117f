import pytest
import torch

from looksharp.data.sets.synthetic import digits
from looksharp.networks import build_classifier, build_network
from looksharp.training import train
from looksharp.training.settings import NetworkConfig, OptimizationConfig, RunConfig, TrainingConfig
from looksharp.training.state import fit_weights, read_state
from looksharp.training.weights import start_from


def load_weights(model, path):
    fit_weights(model, read_state(path), path)


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


def around(architecture, **settings):
    def build(weights=None, classes=10):
        return build_classifier(
            "small", classes, image_size=(32, 32), architecture=architecture, options=settings, weights=weights
        )

    return build


@pytest.mark.parametrize(
    ("architecture", "new"),
    [
        ("attend_rectify", ["attention", "gate"]),
        (
            "attention_branch",
            [f"backbone.stage3.branch.{name}" for name in ("head", "class_maps", "attention")],
        ),
        ("spatial_transformer", ["localisation"]),
    ],
)
def test_a_plain_run_starts_the_backbone_inside_an_architecture(run, capsys, architecture, new):
    model = start_from(around(architecture), run.path / "model.safetensors")
    said = capsys.readouterr().err
    for name in new:
        assert name in said
    plain, whole = run.model.state_dict(), model.state_dict()
    for name, value in plain.items():
        held = [other for key, other in whole.items() if other.shape == value.shape and torch.equal(other, value)]
        assert held, name
    count = sum(p.numel() for name in new for p in model.get_submodule(name).parameters())
    assert f"{count:,} parameters" in said


def test_an_attention_branch_starts_as_a_copy_of_the_trained_stage(run):
    model = start_from(around("attention_branch"), run.path / "model.safetensors")
    branch = model.branch.stage.state_dict()
    stage = model.backbone.get_submodule(model.map_layer.removeprefix("backbone.").partition(".branch")[0]).stage
    assert branch
    torch.testing.assert_close(dict(branch), dict(stage.state_dict()))
    trained = run.model.state_dict().values()
    assert all(any(torch.equal(value, t) for t in trained if t.shape == value.shape) for value in branch.values())


def test_training_around_a_plain_run(run, data, tmp_path):
    """The backbone inside is the plain run's; with gate identity so are the answers."""
    settings = {"architecture": "attend_rectify", "attend_rectify": {"gate": "identity"}}
    config = RunConfig.from_flat(_config(run.path / "model.safetensors", 1e-12).flat() | settings | {"augment": "none"})
    tuned = train(config, tmp_path / "around", data=data, progress=False)
    torch.testing.assert_close(
        tuned.model.backbone.fc.weight, run.model.fc.weight.to(tuned.model.backbone.fc.weight), atol=1e-8, rtol=0
    )


def test_a_plain_run_of_other_classes_starts_all_but_the_classifier(run, capsys):
    build = around("attend_rectify")
    model = start_from(lambda weights=None: build(weights, classes=7), run.path / "model.safetensors")
    assert "backbone.fc" in capsys.readouterr().err
    assert torch.equal(model.backbone.stage1[0][0].weight, run.model.stage1[0][0].weight)


def test_what_starts_no_backbone(run):
    with pytest.raises(ValueError, match=r"are of another network: .* does not fit; check backbone$"):
        start_from(
            lambda weights=None: build_classifier("small_deep", 10, image_size=(32, 32), weights=weights),
            run.path / "model.safetensors",
        )
    with pytest.raises(ValueError, match=r"are of another network: fc\.bias does not fit; check backbone$"):
        start_from(lambda weights=None: around("plain")(weights, classes=9), run.path / "model.safetensors")
