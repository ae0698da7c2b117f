import pytest
from timm.data import ImageNetInfo
from torchvision.models import ResNet18_Weights

from looksharp.data.matching import match_classes

TORCHVISION = tuple(ResNet18_Weights.DEFAULT.meta["categories"])
SYNSETS = tuple(ImageNetInfo("imagenet-1k").label_names())
DESCRIPTIONS = tuple(ImageNetInfo("imagenet-1k").label_descriptions())


@pytest.mark.parametrize("suffix", ["", "-something else", "_x"])
def test_every_synset_is_torchvisions_class_of_its_place(suffix):
    assert match_classes([f"{synset}{suffix}" for synset in SYNSETS], TORCHVISION) == list(TORCHVISION)


def test_torchvisions_names_are_the_synsets_of_their_places():
    assert match_classes(TORCHVISION, SYNSETS) == list(SYNSETS)


def test_names_in_full_are_told_apart_by_their_place():
    """As transformers has them: every synonym, with "crane" and "maillot" twice, each once with a number behind."""
    counted = [f"{name} {i}" if DESCRIPTIONS.count(name) > 1 else name for i, name in enumerate(DESCRIPTIONS)]
    assert match_classes(SYNSETS, counted) == counted


def test_a_few_synsets_find_the_words_of_a_model_of_few_classes():
    assert match_classes(["n02979186", "n01440764"], ["tench", "cassette player", "golf ball"]) == [
        "cassette player",
        "tench",
    ]
    assert match_classes(["n00015388"], ["plant", "beast"]) == ["beast"]  # of ImageNet's 22 thousand


def test_an_equal_name_comes_before_a_synonym():
    assert match_classes(["crane"], TORCHVISION) == ["crane"]
    assert match_classes(["dog", "CAT"], ["cat, dog", "Dog", "cat"]) == ["Dog", "cat"]
    assert match_classes(["b", "a"], ["a", "b"]) == ["b", "a"]
    assert match_classes(["日本", "!"], ["!", "日本"]) == ["日本", "!"]


MEND = "state it by --class_map FILE, in which `{0}: CLASS` maps it and `{0}: -` leaves its images out"


@pytest.mark.parametrize(
    ("names", "classes", "message"),
    [
        (
            ["tench", "gold fish x"],
            TORCHVISION,
            "class 'gold fish x' of data set is none of the run's 1000; did you mean 'goldfish'?; "
            + MEND.format("gold fish x"),
        ),
        (
            ["a", "zebra"],
            ["a", "b"],
            "class 'zebra' of data set is none of the run's 2, such as 'a'; " + MEND.format("zebra"),
        ),
        (
            ["a", "dog"],
            ["a", "dog, hound", "dog, puppy"],
            "class 'dog' of data set may be 'dog, hound' or 'dog, puppy' of the run; " + MEND.format("dog"),
        ),
        (
            ["n01440764", "tench"],
            ["tench", "shark"],
            "classes 'n01440764' and 'tench' of data set may both be 'tench' of the run; state both by "
            "--class_map FILE",
        ),
        (
            ["sea", "sky"],
            ["red", "blue", "green"],
            "data set has other classes than the run: 2, first 'sea', and not 3, first 'red'; "
            "map them by --class_map FILE",
        ),
    ],
)
def test_a_class_without_a_partner_is_named_with_the_flag(names, classes, message):
    with pytest.raises(ValueError, match="class_map") as caught:
        match_classes(names, classes, "set")
    assert str(caught.value) == message
