import pytest

from looksharp.adopting.naming import imagenet_classes, name_classes, read_names
from looksharp.networks.backbones.source import Stated


def test_names_from_a_file_a_list_or_text(tmp_path):
    file = tmp_path / "names.txt"
    file.write_text("cat, domestic\ndog \n\n")
    assert read_names(str(file)).names == ("cat, domestic", "dog")
    assert read_names("cat, dog").names == ("cat", "dog")
    assert read_names(("cat", "dog")).names == ("cat", "dog")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nowhere.txt", "classes must be a file with one name a line, or names separated by commas; got 'nowhere.txt'"),
        ("cat,,dog", r"classes \(as given\) has no name in place 2"),
        ("cat,dog,cat", r"classes \(as given\) names 'cat' twice; "),
    ],
)
def test_bad_names(text, message):
    with pytest.raises(ValueError, match=message):
        read_names(text)


def test_the_order_in_which_names_are_taken():
    stated, data, given = Stated(None, ("a", "b"), "its card"), ("x", "y"), read_names("p,q")
    assert name_classes(2, given, stated, data, "net").names == ("p", "q")
    assert name_classes(2, None, stated, data, "net").names == ("a", "b")
    assert name_classes(2, None, Stated(), data, "net").names == ("x", "y")
    assert name_classes(1000, None, stated, data, "net").names == imagenet_classes()
    with pytest.raises(ValueError, match=r"^classes \(as given\) are 2, but model net answers with 3; name each"):
        name_classes(3, given, stated, data, "net")
    with pytest.raises(
        ValueError, match=r"classes of model net are not known: it answers with 3 \(the data have 2\); "
    ):
        name_classes(3, None, stated, data, "net")


def test_imagenets_names():
    names = imagenet_classes()
    assert (len(names), len(set(names))) == (1000, 1000)
    assert (names[0], names[207], names[999]) == ("tench", "golden retriever", "toilet tissue")
