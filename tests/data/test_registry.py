import inspect

import pytest

from looksharp.data.build import DataConfig
from looksharp.data.registry import DATA_SETS, SOURCES
from looksharp.settings import settings_of


@pytest.mark.parametrize("name", DATA_SETS)
def test_a_reader_takes_what_it_is_given(name):
    made = DATA_SETS[name]
    config = DataConfig(name, root="there")
    given = made.given(root=config.root, size=64, val_share=config.val_share, seed=3)
    inspect.signature(made.reader).bind(**given, **made.fixed, **config.settings)


@pytest.mark.parametrize("name", [*DATA_SETS, *SOURCES])
def test_every_setting_of_a_set_is_described(name):
    made = {**DATA_SETS, **SOURCES}[name]
    text = made.reader.__doc__
    for setting in settings_of(made.reader, made.without):
        assert f"        {setting}: " in text


def test_settings_left_open_are_the_readers():
    voc = DATA_SETS["voc"]
    assert voc.given(root="there", size=None) == {"root": "there"}
    assert voc.given(root="there", size=64) == {"root": "there", "size": 64}
    assert voc.given(root="there", seed=3) == {"root": "there"}
