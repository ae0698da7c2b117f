"""A source of networks from another package."""

SOURCE = '''
from torch import nn

from looksharp.data.pixels import Pixels
from looksharp.networks import SmallNet
from looksharp.networks.backbones.source import NETWORK_SOURCES, Source, Stated


class Zoo(Source):
    """Networks of a zoo, zoo:WIDTH."""

    def build(self, name, asked):
        return SmallNet(asked.num_classes or 2, width=int(name.partition(":")[2]), in_channels=asked.in_channels)

    def stated(self, name):
        return Stated(Pixels((32, 32), (0.5,) * 3, (0.5,) * 3), ("lion", "zebra"), "the zoo's card")


NETWORK_SOURCES.add("zoo", Zoo())
'''


def test_another_package_adds_a_source(plugin, tmp_path):
    python = plugin(SOURCE)
    out = python("-m", "looksharp", "adopt", "zoo:8", "--out", str(tmp_path / "run"), "--device", "cpu")
    assert "lion, zebra (by the zoo's card)" in out
    assert "zoo" in python("-m", "looksharp", "adopt", "--help")
    code = f"from looksharp import load_run; print(load_run({str(tmp_path / 'run')!r}).model.fc)"
    assert python("-c", code) == "Linear(in_features=16, out_features=2, bias=True)\n"
