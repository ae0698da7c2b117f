"""Functions of a user's own that are no network."""

import re
import sys
from types import ModuleType

import pytest

from looksharp.networks import build_network

SOURCE = """
from looksharp.networks import SmallNet

def sized(size):
    return SmallNet(3, width=size)

def classes(num_classes):
    return SmallNet(num_classes, width=4)

def many(*args, **options):
    return SmallNet(3, width=4)

def fails():
    raise OSError("no such file: weights.pt\\nlook elsewhere")

def silent():
    raise KeyError

def name():
    return "small"

number = 3
"""


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    """The path of a module `mine_nets`."""
    path = tmp_path_factory.mktemp("own") / "mine_nets.py"
    path.write_text(SOURCE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(path.parent)
        yield path
    sys.modules.pop("mine_nets", None)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("sized", " needs an argument 'size', which is not known; write a function that needs none"),
        ("classes", " needs an argument 'num_classes', which is not known; say the number by --classes"),
        ("fails", " could not be built: OSError: no such file: weights.pt"),
        ("silent", " could not be built: KeyError"),
        ("name", " must return an nn.Module; got str"),
        ("number", ": module mine_nets ({nets}) has no function 'number'"),
        ("sized.deep", ": module mine_nets ({nets}) has no function 'sized.deep'"),
    ],
)
def test_a_function_that_makes_no_network(function, message, nets):
    name = f"mine_nets:{function}"
    with pytest.raises(ValueError, match=f"^{re.escape(f'backbone {name!r}' + message.format(nets=nets))}$"):
        build_network(name, None)


def test_a_function_is_given_what_it_names(nets):
    assert build_network("mine_nets:classes", 5).fc.out_features == 5
    assert build_network("mine_nets:many", 5).fc.out_features == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("builtins:dict", r" must return an nn\.Module; got dict"),  # a type whose signature Python does not know
        ("sys:nothing", r": module sys \(built in\) has no function 'nothing'"),
        ("my-nets:make", r" must be a timm name, .*hf:NAME.* or package\.module:function"),
        ("mine_nets:", r" must be a timm name, .*hf:NAME.* or package\.module:function"),
    ],
)
def test_names_of_no_function(name, message, nets):
    with pytest.raises(ValueError, match=f"^backbone '{name}'{message}$"):
        build_network(name, 3)


def test_a_folder_of_no_package_has_no_function(tmp_path, monkeypatch):
    (tmp_path / "mine_folder").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    message = f"backbone 'mine_folder:make': module mine_folder ({tmp_path / 'mine_folder'}) has no function 'make'"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build_network("mine_folder:make", 3)
    del sys.modules["mine_folder"]


def test_a_module_that_no_file_holds_is_not_found_again(monkeypatch):
    """As __main__ of a notebook is."""
    monkeypatch.setitem(sys.modules, "mine_cells", ModuleType("mine_cells"))
    message = (
        r"^backbone 'mine_cells:make': there is no module 'mine_cells' on Python's path; start in the folder that "
        r"holds it, or name that as code in the run's config\.yaml$"
    )
    with pytest.raises(ValueError, match=message):
        build_network("mine_cells:make", 3)
