import pytest

from looksharp.networks import build_network, network_names


def test_own_networks_are_found_by_their_prefix_too():
    assert str(build_network("looksharp:cifar_resnet8", 3)) == str(build_network("cifar_resnet8", 3))
    message = rf"^backbone 'smal' is none of looksharp's own; there are {', '.join(network_names())}$"
    with pytest.raises(ValueError, match=message):
        build_network("looksharp:smal", 3)
