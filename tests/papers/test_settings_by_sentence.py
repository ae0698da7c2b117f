"""Every setting of the recipes has its sentence in a paper, or the recipe says that it is a choice."""

from fnmatch import fnmatchcase

import pytest
import said

from looksharp.reproducing.reading import read_recipe, recipe_names


def flat(settings):
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{own}", each) for own, each in value.items())
        else:
            yield name, value


def matching(lines, recipe, setting, value):
    """The last words of the lines that are of this recipe's setting and value."""
    return [
        words
        for patterns, name, known, words in lines
        if name == setting and known == value and any(fnmatchcase(recipe, each) for each in patterns.split())
    ]


@pytest.mark.parametrize("name", recipe_names())
def test_every_setting_is_said_or_declared_open(name):
    recipe = read_recipe(name)
    text = " ".join(f"{recipe.data} {recipe.notes}".lower().split())
    for row, each in recipe.rows.items():
        for setting, value in flat(each.settings):
            quoted = matching(said.SAID, name, setting, value)
            choices = matching(said.OPEN, name, setting, value)
            assert quoted or choices, f"{row}: {setting} {value}"
            if not quoted:  # the recipe's own text must say so
                assert any(word.lower() in text for choice in choices for word in choice.split("|")), (
                    f"{row}: {setting}"
                )


@pytest.mark.parametrize("line", [*said.SAID, *said.OPEN], ids=lambda line: f"{line[0].split()[0]}-{line[1]}-{line[2]}")
def test_every_line_is_of_a_setting(line):
    patterns, setting, value, _ = line
    for pattern in patterns.split():
        names = [name for name in recipe_names() if fnmatchcase(name, pattern)]
        assert names, pattern
        found = [own for name in names for row in read_recipe(name).rows.values() for own in flat(row.settings)]
        assert (setting, value) in found, pattern
