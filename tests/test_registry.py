"""Registries, the packages that they scan, and plugins."""

import sys
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest

from looksharp import registry
from looksharp.registry import Registry

REGISTERS = "from mine_kinds import THINGS\nTHINGS.add('lamp', 1)\n"


def test_another_thing_of_one_name_is_refused():
    sizes = Registry[int]("size")
    sizes.add("small", 1)
    with pytest.raises(ValueError, match=r"^size 'small' is registered twice; choose another name$"):
        sizes.add("small", 2)
    assert dict(sizes) == {"small": 1}


def test_a_thing_of_a_module_that_is_reloaded_takes_the_place_of_its_former_self():
    def run_module(lampshade=False):
        class Lamp:
            shade = lampshade

        return Lamp

    things = Registry[type]("thing")
    things.register("lamp")(run_module())
    things.register("lamp")(run_module(lampshade=True))
    assert things["lamp"].shade


def test_registries_are_told_apart_even_when_they_hold_the_same():
    one, other = Registry[int]("size"), Registry[int]("size")
    assert one == one
    assert one != other
    assert len({one, other, one}) == 2


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Writes a file of a package, and returns a registry that scans the package."""
    folder, things = tmp_path / "mine_things", Registry[int]("thing", "mine_things")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setitem(sys.modules, "mine_kinds", SimpleNamespace(THINGS=things))

    def write(name, source):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        for above in (folder, (folder / name).parent):
            (above / "__init__.py").touch()
        (folder / name).write_text(source)
        return things

    yield write
    for name in [name for name in sys.modules if name.partition(".")[0] == "mine_things"]:
        del sys.modules[name]


@pytest.mark.parametrize("file", ["lamp.py", "lamp/__init__.py", "lamp/deep.py"])
def test_what_a_file_cannot_import_is_said_at_every_look_up_until_it_can(file, package):
    things = package(file, "import mine_missing\n")
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match=r"^No module named 'mine_missing'$"):
            things.find("lamp")
    package(file, REGISTERS)
    assert things.find("lamp") == 1


def test_a_plugin_that_fails_is_named_once_and_the_others_are_loaded(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine_broken.py").write_text("raise RuntimeError('no lamp')\n")
    (tmp_path / "mine_whole.py").write_text(REGISTERS)
    things = Registry[int]("thing")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "mine_kinds", SimpleNamespace(THINGS=things))
    named = [EntryPoint(name, f"mine_{name}", registry.PLUGINS) for name in ("broken", "whole")]
    monkeypatch.setattr(registry, "entry_points", lambda group: [each for each in named if each.group == group])
    try:
        registry.load_plugins()
        assert capsys.readouterr().err == "looksharp: warning: plugin broken (mine_broken) failed: no lamp\n"
        assert dict(things) == {"lamp": 1}
        registry.load_plugins()
        assert capsys.readouterr().err == ""
    finally:
        registry._LOADED.difference_update(each.value for each in named)
        sys.modules.pop("mine_whole", None)
