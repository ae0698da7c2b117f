import inspect
import re
from dataclasses import fields

import pytest

from looksharp.data.build import DataConfig
from looksharp.data.registry import DATA_SETS


@pytest.mark.parametrize("name", DATA_SETS)
def test_a_reader_takes_what_it_is_given(name):
    known = {"seed", *(field.name for field in fields(DataConfig))}
    assert set(DATA_SETS[name].settings) <= known
    reader = DATA_SETS[name].load()
    inspect.signature(reader).bind(**DATA_SETS[name].arguments(DataConfig(root="there"), seed=3))


@pytest.mark.parametrize("name", DATA_SETS)
def test_a_set_is_in_the_help(name):
    listed = re.search(r"data: (.*?), or an image folder", DataConfig.__doc__, re.DOTALL)[1]
    assert name in re.split(r",\s+", listed)


def test_settings_left_open_are_the_readers():
    voc = DATA_SETS["voc"]
    assert voc.arguments(DataConfig("voc", root="there"), 3) == {"root": "there"}
    assert voc.arguments(DataConfig("voc", root="there", image_size=64), 3) == {"root": "there", "size": 64}
