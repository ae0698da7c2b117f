import argparse
import pathlib
import warnings

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from safetensors.torch import save_file
from torch import nn

from looksharp.adopting.checkpoint import fit, read_weights
from looksharp.networks import SmallNet, build_network


def network():
    return SmallNet(3, width=4)


def fitted(model, path, **others):
    return fit(network(), read_weights(path), path, "small", **others)


def kept(found, model):
    assert found.state.keys() == model.state_dict().keys()
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in found.state.items())


NESTINGS = {
    "plain": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "model": lambda state: {"model": state, "optimizer": {"state": {}}},
    "model_state_dict": lambda state: {"model_state_dict": state, "loss": torch.tensor(0.1)},
    "timm's, with settings": lambda state: {
        "arch": "resnet18",
        "args": argparse.Namespace(lr=0.1, output=pathlib.Path("out")),
        "state_dict": state,
        "metric": 0.9,
    },
}


@pytest.mark.parametrize("nest", NESTINGS.values(), ids=NESTINGS)
@pytest.mark.parametrize(
    "prefix", ["", "model.", "module.", "net.", "_orig_mod.", "module._orig_mod.", "student.body."]
)
def test_weights_at_any_place_under_any_prefix(nest, prefix, tmp_path):
    model, path = network(), tmp_path / "weights.pt"
    torch.save(nest({f"{prefix}{name}": value for name, value in model.state_dict().items()}), path)
    found = fitted(model, path)
    kept(found, model)
    assert found.prefix == prefix.replace("_orig_mod.", "")
    assert found.left_out == ()


def test_safetensors(tmp_path):
    model, path = network(), tmp_path / "weights.safetensors"
    save_file({f"module.{name}": value for name, value in model.state_dict().items()}, path)
    kept(fitted(model, path), model)


def test_the_average_that_timm_keeps_is_preferred_and_the_other_named(tmp_path):
    first, average, path = network(), network(), tmp_path / "checkpoint.pth.tar"
    torch.save({"state_dict": first.state_dict(), "state_dict_ema": average.state_dict()}, path)
    weights = read_weights(path)
    assert weights.where == "state_dict_ema, not state_dict, which it holds too"
    kept(fit(network(), weights, path, "small"), average)


class Lit(LightningModule):
    def __init__(self, width=4, folder=pathlib.Path("here")):
        super().__init__()
        self.save_hyperparameters()
        self.net = network()
        self.criterion = nn.CrossEntropyLoss(weight=torch.ones(3))

    def training_step(self, batch, _):
        images, targets = batch
        return self.criterion(self.net(images), targets)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def test_a_checkpoint_of_lightning(tmp_path):
    module, path = Lit(), tmp_path / "lit.ckpt"
    batches = torch.utils.data.DataLoader([(torch.rand(3, 32, 32), n % 3) for n in range(8)], batch_size=4)
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, default_root_dir=tmp_path,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # libraries about each other
        trainer.fit(module, batches)
    trainer.save_checkpoint(path)
    found = fitted(module.net, path)
    kept(found, module.net)
    assert (found.prefix, found.left_out) == ("net.", ("criterion.weight",))


def test_what_is_missing_or_not_the_networks_is_named(tmp_path):
    state, path = network().state_dict(), tmp_path / "weights.pt"
    lacking = {name: value for name, value in state.items() if not name.startswith("fc.")}
    torch.save(lacking, path)
    with pytest.raises(
        ValueError, match=r"do not fit small: they lack fc\.weight, fc\.bias; name the model they were "
    ):
        fitted(network(), path)
    torch.save(lacking | {"fc.1.weight": state["fc.weight"], "fc.1.bias": state["fc.bias"]}, path)
    with pytest.raises(ValueError, match=r"they lack fc\.weight, fc\.bias and have fc\.1\.weight, fc\.1\.bias; "):
        fitted(network(), path)
    torch.save({name: value for name, value in state.items() if "stage1" not in name}, path)
    with pytest.raises(ValueError, match=r"they lack stage1\.0\.0\.weight, .*, stage1\.\S+ and \d+ more; "):
        fitted(network(), path)
    torch.save(build_network("small", 5).state_dict(), path)
    with pytest.raises(ValueError, match=r"\S+ is \S+ in the file, and in the network \S+; check the model's name"):
        fitted(network(), path)


def test_what_published_networks_have_beside_is_left_out(tmp_path):
    state, path = network().state_dict(), tmp_path / "weights.pt"
    torch.save(state | {"aux1.fc.weight": torch.ones(2)}, path)
    assert fitted(network(), path, left_out=("aux1",)).left_out == ("aux1.fc.weight",)


class Foreign:
    pass


def test_files_that_are_no_weights(tmp_path):
    path = tmp_path / "weights.pt"

    def refused(message):
        with pytest.raises(ValueError, match=message) as caught:
            read_weights(path)
        assert "\n" not in str(caught.value)

    refused(r"weights \S+ do not exist$")
    path.write_bytes(b"hello")
    refused("cannot be read: the file is damaged, or none that torch.save wrote; save model.state_dict")
    torch.save(network(), path)
    refused(r"hold looksharp\.networks\.\S+SmallNet beside tensors, which is not read since it could run code; save")
    torch.save({"state_dict": network().state_dict(), "mine": Foreign()}, path)
    refused(r"hold \S+Foreign beside tensors")
    torch.save({"epoch": 3, "history": [1, 2]}, path)
    refused("hold no state_dict but only epoch, history; save")
    torch.save([1, 2], path)
    refused("hold no state_dict but list; save")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated
        torch.jit.script(nn.Linear(2, 2)).save(path)
    refused("the file is TorchScript")
    other = tmp_path / "weights.safetensors"
    other.write_bytes(b"hello")
    with pytest.raises(ValueError, match="cannot be read as safetensors"):
        read_weights(other)


def test_quantized_weights_are_refused(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save({"fc.weight": torch.ones(2, 2, dtype=torch.int8), "fc.scale": torch.ones(2)}, path)
    with pytest.raises(ValueError, match=r"are quantized to 8 bits \(fc\.weight\): no gradient passes them; "):
        read_weights(path)
