"""Training that compiles its network leaves the run that it would leave anyway."""

import sys

import pytest
import torch
import torch._inductor.config
from torch import nn

from looksharp.data.sets.synthetic import digits
from looksharp.training import compiling, load_run, train
from looksharp.training.compiling import check_compiler, compiled
from looksharp.training.settings import RunConfig

CPU = torch.device("cpu")


class Counting:
    """A backend that counts the forwards of what it compiles."""

    def __init__(self):
        self.training = []

    def __call__(self, graph, example):
        def call(*values):
            self.training.append(torch.is_grad_enabled())
            return graph(*values)

        return call


@pytest.fixture
def backend(monkeypatch):
    torch.compiler.reset()
    counting = Counting()
    monkeypatch.setattr(compiling, "_BACKEND", counting)
    return counting


def test_a_compiled_network_is_itself_afterwards(backend):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())
    names, image = list(model.state_dict()), torch.rand(2, 3, 5, 5)
    expected = model(image)
    with compiled(model), torch.no_grad():
        torch.testing.assert_close(model(image), expected)
        assert list(model.state_dict()) == names
    assert backend.training == [False]
    torch.testing.assert_close(model(image), expected)
    assert backend.training == [False]


@pytest.mark.filterwarnings("ignore:.*it runs eagerly")
@pytest.mark.parametrize(("objective", "trains"), [("classification", True), ("icasc", False)])
def test_a_run(objective, trains, backend, tmp_path):
    data = digits(16, 8, 8)
    values = {"data": "digits", "epochs": 1, "batch_size": 8, "objective": objective, "lr": 0.01, "device": "cpu"}
    runs = [
        train(RunConfig.from_flat(values | {"compile": flag}), tmp_path / str(flag), data=data, progress=False)
        for flag in (False, True)
    ]
    assert (True in backend.training) is trains  # training steps
    assert False in backend.training  # validation
    torch.testing.assert_close(*(load_run(run.path).model.state_dict() for run in runs))
    count = len(backend.training)
    runs[1].model(torch.rand(2, 3, 48, 48))
    assert len(backend.training) == count


def test_without_a_compiler_it_is_refused_in_one_line(tmp_path):
    config = RunConfig.from_flat({"data": "digits", "compile": True, "device": "cpu"})
    with (
        torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",)}),
        pytest.raises(ValueError, match=r"^compile needs a C\+\+ compiler .*: install g\+\+, .* leave out --compile$"),
    ):
        train(config, tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "config.yaml").exists()
    check_compiler(torch.device("cuda"))


def test_a_compiler_is_found():
    with torch._inductor.config.patch({"cpp.cxx": (sys.executable,)}):  # it says its version, as a compiler would
        check_compiler(CPU)
