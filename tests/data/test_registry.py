import inspect

import pytest

from looksharp.data.build import DataConfig
from looksharp.data.registry import DATA_SETS, SOURCES
from looksharp.settings import settings_of


@pytest.mark.parametrize("name", DATA_SETS)
def test_a_reader_takes_what_it_is_given(name):
    made = DATA_SETS[name]
    config = DataConfig(name, root="there")
    given = made.given(root=config.root, seed=3)
    inspect.signature(made.reader).bind(**given, **made.fixed, **config.settings)


@pytest.mark.parametrize("name", [*DATA_SETS, *SOURCES])
def test_every_setting_of_a_set_is_described(name):
    made = {**DATA_SETS, **SOURCES}[name]
    text = made.reader.__doc__
    for setting in settings_of(made.reader, made.without):
        assert f"        {setting}: " in text


def test_settings_left_open_are_the_readers():
    voc = DATA_SETS["voc"]
    assert voc.given(root="there", source=None) == {"root": "there"}
    assert voc.given(root="there", seed=3) == {"root": "there"}


@pytest.mark.parametrize("name", [*DATA_SETS, *SOURCES])
def test_what_every_set_has_is_no_setting_of_one(name):
    known = settings_of({**DATA_SETS, **SOURCES}[name].reader)
    assert not known.keys() & {"size", "image_size", "val_share", "crop_share", "range"}
