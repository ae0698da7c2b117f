"""Networks of transformers, from local folders alone."""

import re
import sys

import pytest
import torch
import transformers

from looksharp.networks import build_network

SIZES = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A network of three classes, and its name."""
    folder = tmp_path_factory.mktemp("hub") / "vit"
    torch.manual_seed(0)
    config = transformers.ViTConfig(**SIZES, image_size=16, patch_size=8, num_labels=3)
    network = transformers.ViTForImageClassification(config).eval()
    network.save_pretrained(folder)
    return network, f"hf:{folder}"


def test_published_weights_with_their_own_classes_and_with_others(saved):
    network, name = saved
    own, others = build_network(name, None, pretrained=True), build_network(name, 5, pretrained=True)
    images = torch.rand(2, 3, 16, 16)
    assert own.training  # as networks of every other source are
    torch.testing.assert_close(own.eval()(images).logits, network(images).logits)
    assert others.eval()(images).logits.shape == (2, 5)
    torch.testing.assert_close(others.vit.state_dict(), network.vit.state_dict())


def test_new_weights_for_images_of_other_channels(saved):
    network, name = saved
    found = build_network(name, 5, in_channels=1)
    assert found(torch.rand(2, 1, 16, 16)).logits.shape == (2, 5)
    known = network.state_dict()["vit.layernorm.weight"], network.vit.embeddings.cls_token
    assert not torch.equal(found.vit.embeddings.cls_token, known[1])


def test_a_folder_without_weights(saved, tmp_path):
    network, _ = saved
    network.config.save_pretrained(tmp_path)
    name = f"hf:{tmp_path}"
    assert build_network(name, 3)(torch.rand(1, 3, 16, 16)).logits.shape == (1, 3)
    message = (
        rf"^the weights of '{re.escape(name)}' could not be loaded \(OSError: .*\); they need network access or a "
    )
    with pytest.raises(ValueError, match=message) as error:
        build_network(name, 3, pretrained=True)
    assert "\n" not in str(error.value)


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    message = r"^backbones hf:NAME need the package transformers: pip install transformers$"
    with pytest.raises(ValueError, match=message):
        build_network("hf:nobody/nothing", 3)
