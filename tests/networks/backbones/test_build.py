from urllib.error import URLError

import pytest
import timm
import torch
import torchvision

from looksharp.networks import (
    CifarResNet,
    CifarWideResNet,
    ClutterNet,
    SmallNet,
    build_network,
    cifar_bottleneck_resnet,
    cifar_densenet,
    cifar_resnext,
    network_names,
)


@pytest.fixture
def torchvision_weights(monkeypatch):
    """Serve random "pretrained" weights in the place of every download; returns them by architecture."""
    served = {}

    def serve(url, **_):
        arch = url.rpartition("/")[2].partition("-")[0]
        options = {"init_weights": False} if arch == "googlenet" else {}
        served[arch] = torchvision.models.get_model(arch, **options).state_dict()
        return served[arch]

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", serve)
    return served


def _parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("name", network_names())
def test_every_own_name_classifies(name):
    with torch.device("meta"):  # the widest has 56 million parameters
        network, images = build_network(name, 7, in_channels=2).eval(), torch.empty(1, 2, 16, 16)
    assert network(images).shape == (1, 7)


def test_own_names_are_what_they_say():
    assert network_names() == (
        "cifar_densenet100_12",
        "cifar_resnet110",
        "cifar_resnet110_bottleneck",
        "cifar_resnet20",
        "cifar_resnet32",
        "cifar_resnet44",
        "cifar_resnet56",
        "cifar_resnext29_8x64",
        "cifar_wrn16_4",
        "cifar_wrn28_10",
        "cifar_wrn28_4_drop30",
        "cifar_wrn40_10",
        "clutter_cnn",
        "small",
        "small_deep",
    )
    assert isinstance(build_network("cifar_resnet26", 3), CifarResNet)
    assert isinstance(build_network("small", 3), SmallNet)
    assert isinstance(build_network("clutter_cnn", 3), ClutterNet)
    assert _parameters(build_network("small_deep", 3)) == _parameters(SmallNet(3, deep=True))
    assert not set(network_names()) & set(timm.list_models())  # none of timm's is hidden


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cifar_resnet20_bottleneck", lambda: cifar_bottleneck_resnet(20, 3, 2)),
        ("cifar_resnext20_2x8", lambda: cifar_resnext(20, 2, 8, 3, 2)),
        ("cifar_wrn16_2", lambda: CifarWideResNet(16, 2, 3, 2)),
        ("cifar_wrn16_2_drop05", lambda: CifarWideResNet(16, 2, 3, 2, dropout=0.05)),
        ("cifar_densenet22_6", lambda: cifar_densenet(22, 6, 3, 2)),
    ],
)
def test_numbers_of_a_name_are_its_networks_sizes(name, expected):
    assert str(build_network(name, 3, in_channels=2)) == str(expected())  # every layer with its sizes


@pytest.mark.parametrize("in_channels", [1, 3])
def test_timm_network_is_timms(in_channels):
    network = build_network("test_resnet.r160_in1k", 5, in_channels=in_channels).eval()
    assert network(torch.rand(1, in_channels, 64, 64)).shape == (1, 5)
    assert _parameters(network) == _parameters(timm.create_model("test_resnet", num_classes=5, in_chans=in_channels))


def test_timm_weights_are_loaded_and_the_classifier_is_new(monkeypatch):
    weights = timm.create_model("test_resnet").state_dict()
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", lambda *_, **__: dict(weights))
    network = build_network("test_resnet", 5, pretrained=True)
    assert torch.equal(network.state_dict()["layer1.0.conv1.weight"], weights["layer1.0.conv1.weight"])
    assert network.get_classifier().out_features == 5


@pytest.mark.parametrize("in_channels", [1, 3, 4])
@pytest.mark.parametrize("arch", ["resnet18", "squeezenet1_1", "mobilenet_v3_small"])
def test_torchvision_network_is_torchvisions(arch, in_channels):
    network = build_network(f"torchvision/{arch}", 5, in_channels=in_channels).eval()
    assert network(torch.rand(1, in_channels, 64, 64)).shape == (1, 5)
    reference = torchvision.models.get_model(arch, num_classes=5)
    first = next(reference.parameters())  # (C, 3, k, k)
    assert _parameters(network) == _parameters(reference) + (in_channels - 3) * first[:, 0].numel()


@pytest.mark.parametrize("arch", ["googlenet", "inception_v3"])
def test_auxiliary_classifiers_are_left_out(arch):
    network = build_network(f"torchvision/{arch}", 5)
    assert not [name for name, _ in network.named_modules() if "aux" in name.lower()]
    with torch.device("meta"):
        images = torch.empty(2, 3, 299, 299)
    assert isinstance(network.train().to("meta")(images), torch.Tensor)


@pytest.mark.parametrize("arch", ["squeezenet1_1", "mobilenet_v3_small"])
def test_torchvision_weights_are_loaded_and_the_classifier_fits(arch, torchvision_weights):
    network = build_network(f"torchvision/{arch}", 5, pretrained=True).eval()
    (weights,) = torchvision_weights.values()
    loaded = network.state_dict()
    other = [name for name, tensor in weights.items() if tensor.shape != loaded[name].shape]
    assert len(other) == 2  # the classifier's weight and bias
    assert all(torch.equal(loaded[name], weights[name]) for name in weights if name not in other)
    assert network(torch.rand(1, 3, 64, 64)).shape == (1, 5)


def test_torchvision_classifier_is_kept_where_its_classes_fit(torchvision_weights):
    network = build_network("torchvision/squeezenet1_1", 1000, pretrained=True)
    (weights,) = torchvision_weights.values()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in network.state_dict().items())


def test_pretrained_googlenet_has_logits_alone(torchvision_weights):
    network = build_network("torchvision/googlenet", 5, pretrained=True, in_channels=1)
    assert not [name for name, _ in network.named_modules() if "aux" in name.lower()]
    assert network.train()(torch.rand(2, 1, 64, 64)).shape == (2, 5)


def test_adapted_weights_answer_to_grey_images_as_before(torchvision_weights):
    colour = build_network("torchvision/squeezenet1_1", 5, pretrained=True).features[0]
    grey = torch.rand(1, 1, 16, 16)
    for in_channels in (1, 6):
        network = build_network("torchvision/squeezenet1_1", 5, pretrained=True, in_channels=in_channels)
        (weights,) = torchvision_weights.values()
        colour.load_state_dict({"weight": weights["features.0.weight"], "bias": weights["features.0.bias"]})
        adapted = network.features[0](grey.expand(-1, in_channels, -1, -1))
        torch.testing.assert_close(adapted, colour(grey.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet5", r"^backbone 'resnet5' is not known; did you mean 'resnet50', 'resnet51q', 'resnet50t'\?$"),
        ("ResNet50", r"^backbone 'ResNet50' is not known; did you mean 'resnet50', "),
        ("smal", r"^backbone 'smal' is not known; did you mean 'small'\?$"),
        ("cifar_resnet", r"^backbone 'cifar_resnet' is not known; did you mean 'cifar_resnet56', "),
        ("resnet18.a1_in2k", r"^backbone 'resnet18.a1_in2k' is not known; did you mean 'resnet18.a1_in1k', "),
        (
            "torchvision/resnet19",
            r"^backbone 'torchvision/resnet19' is not known; did you mean 'torchvision/resnet18'",
        ),
        (
            "torchvision/fcn_resnet50",
            r"^backbone 'torchvision/fcn_resnet50' is not known; did you mean 'torchvision/res",
        ),
        (
            "?",
            r"^backbone '\?' is not known; take .*, small, .*, 'torchvision/NAME' or one of timm.list_models\(\)$",
        ),
        ("timm/resnet18", r"^backbone 'timm/resnet18' is not known; "),
        ("cifar_wrn28x10", r"^backbone 'cifar_wrn28x10' is not known; did you mean 'cifar_wrn28_10', "),
        ("cifar_wrn28_4_drop3", r"^backbone 'cifar_wrn28_4_drop3' is not known; did you mean 'cifar_wrn28_4_drop30', "),
        ("cifar_densenet100", r"^backbone 'cifar_densenet100' is not known; did you mean 'cifar_densenet100_12', "),
        ("cifar_resnext29", r"^backbone 'cifar_resnext29' is not known; did you mean .*'cifar_resnext29_8x64'\?$"),
        ("cifar_wrn27_4", r"^depth must be 6n \+ 4 with n of at least 1, got 27; "),
        ("cifar_resnet21", r"^depth must be 6n \+ 2 with n of at least 1, got 21; "),
    ],
)
def test_unknown_name_is_refused_with_close_ones(name, message):
    with pytest.raises(ValueError, match=message):
        build_network(name, 10)


@pytest.mark.parametrize(
    "name", ["small", "clutter_cnn", "cifar_resnet20", "cifar_wrn28_4_drop30", "cs3darknet_s", "botnet50ts_256"]
)
def test_weights_that_do_not_exist_are_refused(name):
    with pytest.raises(ValueError, match=rf"^pretrained weights do not exist for '{name}'; pass pretrained=False$"):
        build_network(name, 10, pretrained=True)


@pytest.mark.parametrize("name", ["torchvision/squeezenet1_1", "test_resnet", "hf-hub:nobody/nothing"])
def test_weights_that_cannot_be_loaded_are_reported_in_one_line(name, monkeypatch):
    def fail(*_, **__):
        raise URLError("no route\nto host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", fail)
    monkeypatch.setattr("timm.models._factory.load_model_config_from_hf", fail)
    message = (
        rf"^the weights of '{name}' could not be loaded \(URLError: <urlopen error no route to host>\); "
        r"they need network access or a local cache of the download$"
    )
    with pytest.raises(ValueError, match=message) as caught:
        build_network(name, 10, pretrained=True)
    assert isinstance(caught.value.__cause__, URLError)


@pytest.mark.parametrize("name", ["small", "test_resnet", "torchvision/resnet18"])
def test_no_classes_and_no_channels_are_refused(name):
    with pytest.raises(ValueError, match=r"^num_classes must be at least 1, got 0; "):
        build_network(name, 0)
    with pytest.raises(ValueError, match=r"^in_channels must be at least 1, got 0; "):
        build_network(name, 10, in_channels=0)


def test_a_vision_transformer_takes_the_size_it_is_asked_for():
    network = build_network("vit_tiny_patch16_224", 5, image_size=(48, 64)).eval()
    assert network.pos_embed.shape == (1, 3 * 4 + 1, 192)
    assert network(torch.rand(2, 3, 48, 64)).shape == (2, 5)
    assert build_network("vit_tiny_patch16_224", 5).pos_embed.shape == (1, 14 * 14 + 1, 192)
    assert build_network("resnet18", 5, image_size=(48, 64)).eval()(torch.rand(1, 3, 48, 64)).shape == (1, 5)
