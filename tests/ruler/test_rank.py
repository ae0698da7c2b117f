import csv
import json
import math
import re

import pytest
import torch
from tests.ruler.conftest import PATCH, SIDE, colours

from looksharp import RulerSettings, rank_mechanisms
from looksharp.attention.mechanisms import MECHANISMS
from looksharp.data.sets.synthetic import biased_digits
from looksharp.evaluation import evaluate
from looksharp.networks import SmallNet
from looksharp.ruler import rank

COUNT = 24


def chosen(*only, **settings):
    return RulerSettings(only=only, layer="relu", workers=0, **({"images": COUNT, "shown": 2} | settings))


def by_name(ranking):
    return {standing.name: standing for standing in ranking.standings}


def test_what_finds_the_cue_stands_above_what_points_elsewhere(net, elsewhere):
    ranking = rank_mechanisms(net, colours(COUNT), chosen(elsewhere, "grad_cam"), progress=False)
    assert [standing.name for standing in ranking.standings] == ["grad_cam", elsewhere]
    found, missed = ranking.standings
    assert (found.as_good, missed.as_good) == (True, False)
    for name in ("cue_found", "cue_energy", "cue_covered"):  # the map of grad_cam is the patch, exactly
        assert found.scores[name].value == pytest.approx(1)
        assert (found.scores[name].low, found.scores[name].high) == pytest.approx((1, 1))
        assert missed.scores[name].value == 0
    assert (ranking.cue.known, ranking.cue.hanging) == (COUNT, COUNT)
    assert ranking.cue.share == pytest.approx(PATCH**2 / SIDE**2)
    assert found.scores["cue_chance"].value == pytest.approx(PATCH**2 / SIDE**2)  # a map of pixels
    assert ranking.take == "grad_cam"
    assert ranking.advice.startswith("On this network take grad_cam: it finds the cue in 100% (100 to 100) at ")
    assert ranking.advice.endswith("; the next, elsewhere, has 0%.")
    assert f"hangs on the planted cue in {COUNT} of {COUNT} images" in ranking.reason


def test_without_a_cue_the_mean_rank_decides(net, elsewhere):
    ranking = rank_mechanisms(
        net, colours(COUNT, cues=False, marks=True), chosen(elsewhere, "grad_cam"), progress=False
    )
    found, missed = ranking.standings
    assert (found.name, missed.name, ranking.by_cue, ranking.cue) == ("grad_cam", elsewhere, False, None)
    for name in ("insertion", "road", "attention_inside", "pointing_game"):
        assert found.scores[name].value > missed.scores[name].value
    assert found.scores["deletion"].value < missed.scores["deletion"].value
    assert ranking.reason.startswith("No cue is known in these images, so the mean rank over insertion, deletion, ")
    assert f"its mean rank over 7 scores is {found.decisive.value:.1f} (" in ranking.advice


def test_a_cue_that_decides_no_answer_does_not_decide_the_ranking(net):
    data = colours(COUNT)
    with torch.no_grad():
        net.fc.bias[3] = 1e6  # whatever is shown, the answer is "none"
    ranking = rank_mechanisms(net, data, chosen("grad_cam", "layer_cam"), progress=False)
    assert (ranking.cue.hanging, ranking.by_cue) == (0, False)
    assert f"in 0 of {COUNT} images (it changes once the cue is painted over), fewer than 10, so" in ranking.reason
    assert "cue_found" not in ranking.standings[0].scores
    assert ranking.standings[0].scores["no_attention"].value == 1  # nothing speaks for "none"
    assert "so the mean rank over no attention at all decides" in ranking.reason


def test_none_is_advised_where_none_finds_the_cue(net, elsewhere):
    ranking = rank_mechanisms(net, colours(COUNT), chosen(elsewhere), progress=False)
    assert ranking.take is None
    assert ranking.advice == (
        "On this network take none of them: the best, elsewhere, finds the cue in 0% (0 to 0), and a random position "
        "would in 6%."
    )


def test_scores_are_those_of_an_evaluation():
    data, net = biased_digits(train=1, val=1, test=8, seed=1), SmallNet(10, width=8).eval()
    settings = RulerSettings(only=("layer_cam",), images=8, perturbed=8, workers=0, batch_size=3)
    (standing,) = rank_mechanisms(net, data, settings, progress=False).standings
    expected = evaluate(
        net, data.splits["biased"], data.pixels, suites=["faithfulness", "sanity"], mechanism="layer_cam"
    ).values
    for name in ("insertion", "deletion", "average_drop", "confidence_increase", "road", "randomised_rank"):
        assert standing.scores[name].value == pytest.approx(expected[name], abs=1e-4), name


def test_only_some_images_are_perturbed_and_the_split_and_images_are_chosen():
    data, net = biased_digits(train=1, val=1, test=9), SmallNet(10, width=8).eval()
    settings = RulerSettings(only=("grad_cam",), images=5, perturbed=2, split="unbiased", workers=0)
    ranking = rank_mechanisms(net, data, settings, progress=False)
    assert (ranking.split, ranking.images, ranking.cue.known) == ("unbiased", 5, 5)
    again = rank_mechanisms(net, data, settings, progress=False)
    assert again.standings[0].scores == ranking.standings[0].scores
    more = rank_mechanisms(net, data, RulerSettings(only=("grad_cam",), images=5, seed=1, workers=0), progress=False)
    assert more.standings[0].scores != ranking.standings[0].scores


def test_a_mechanism_that_refuses_is_listed_with_its_reason(net, tmp_path):
    settings = RulerSettings(only=("cam", "grad_cam"), layer="conv", images=COUNT, shown=0, workers=0)
    ranking = rank_mechanisms(net, colours(COUNT), settings, out=tmp_path, progress=False)
    assert list(by_name(ranking)) == ["grad_cam"]
    assert ranking.refused["cam"].startswith("mechanism 'cam' needs one layer that is average-pooled into one linear")
    page = (tmp_path / "index.html").read_text()
    assert "<dt>cam</dt><dd>mechanism &#39;cam&#39; needs one layer" in page


def test_what_costs_too_much_is_left_out_unless_it_is_named(net, monkeypatch):
    for name in set(MECHANISMS) - {"grad_cam", "occlusion"}:
        monkeypatch.delitem(MECHANISMS._things, name)
    settings = {"layer": "relu", "images": 4, "perturbed": 0, "shown": 0, "workers": 0}
    ranking = rank_mechanisms(net, colours(4), RulerSettings(most=10, **settings), progress=False)
    assert [standing.name for standing in ranking.standings] == ["grad_cam"]
    assert ranking.refused == {
        "occlusion": "costs more than 10 forwards an image; raise most, or name it in only to rank it all the same"
    }
    named = rank_mechanisms(net, colours(4), RulerSettings(most=10, only=("occlusion",), **settings), progress=False)
    assert named.standings[0].cost.total > 10


def test_an_interrupted_ranking_goes_on_with_the_next_mechanism(net, tmp_path, monkeypatch):
    asked = []

    def measure(questions, name, *rest, whole=rank.measure):
        if name == "layer_cam" and len(asked) < 2:
            raise KeyboardInterrupt
        asked.append(name)
        return whole(questions, name, *rest)

    monkeypatch.setattr(rank, "measure", measure)
    given = net, colours(COUNT), chosen("grad_cam", "hires_cam", "layer_cam", shown=1)
    with pytest.raises(KeyboardInterrupt):
        rank_mechanisms(*given[:2], chosen("grad_cam", "layer_cam", shown=1), out=tmp_path, progress=False)
    first = rank_mechanisms(*given, out=tmp_path, progress=False)
    assert asked == ["grad_cam", "hires_cam", "layer_cam"]
    before = (tmp_path / "mechanisms.json").read_bytes()
    second = rank_mechanisms(*given, out=tmp_path, progress=False)
    assert asked == ["grad_cam", "hires_cam", "layer_cam"]  # nothing was measured again
    assert (tmp_path / "mechanisms.json").read_bytes() == before
    assert torch.equal(first.examples[0].maps["grad_cam"], second.examples[0].maps["grad_cam"])
    for path in (tmp_path / "measured").glob("hires-cam-*"):
        path.write_bytes(b"damaged")
    with torch.no_grad():
        net.fc.weight.mul_(1.5)
    rank_mechanisms(*given, out=tmp_path, progress=False)
    assert asked[3:] == ["grad_cam", "hires_cam", "layer_cam"]  # another network


def test_the_files_say_the_same(net, elsewhere, tmp_path):
    ranking = rank_mechanisms(net, colours(COUNT), chosen("grad_cam", elsewhere), out=tmp_path, progress=False)
    facts = json.loads((tmp_path / "mechanisms.json").read_text())
    assert (facts["take"], facts["decides"], facts["advice"]) == ("grad_cam", "cue_found", ranking.advice)
    assert facts["cue"] == {"known": COUNT, "hanging": COUNT, "share": ranking.cue.share}
    with (tmp_path / "mechanisms.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["mechanism"] for row in rows] == ["grad_cam", elsewhere]
    for row, fact in zip(rows, facts["mechanisms"], strict=True):
        assert float(row["cue_found"]) == fact["scores"]["cue_found"]["value"]
        assert float(row["insertion_low"]) == pytest.approx(fact["scores"]["insertion"]["low"], rel=1e-5)
        assert float(row["forwards"]) == pytest.approx(fact["forwards"], rel=1e-5)


def test_the_page_shows_the_same_images_for_each_mechanism(net, elsewhere, tmp_path):
    ranking = rank_mechanisms(net, colours(COUNT), chosen("grad_cam", elsewhere), out=tmp_path, progress=False)
    page = (tmp_path / "index.html").read_text()
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page))
    assert ranking.advice in text
    assert ranking.reason in text
    assert "24 images of colours, split test. The cue is known in 24 of them and covers 6.2% of an image" in text
    assert page.count("<figure>") == 2 * 3  # two images, each by itself and with both maps
    assert page.count('class="take"') == 1
    assert "Not ranked" not in page  # nothing refused
    assert "http" not in page.replace("http-equiv", "")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"only": ("grad_cm",)}, r"^mechanism 'grad_cm' is not known; did you mean 'grad_cam'\?$"),
        ({"only": ()}, r"^only must name at least one mechanism; there are ablation_cam, cam, "),
        ({"split": "exam"}, r"^split 'exam' is not in colours; there are train, test$"),
        ({"layer": "layer9"}, r"^layer 'layer9' is not in ColourNet; its top-level layers are conv, relu, fc$"),
        (
            {"layer": "conv", "only": ("cam",)},
            r"^every mechanism refuses this network: cam: mechanism 'cam' needs one layer",
        ),
    ],
)
def test_bad_input_is_one_line(net, settings, message):
    with pytest.raises(ValueError, match=message) as raised:
        rank_mechanisms(net, colours(4), RulerSettings(workers=0, **settings), progress=False)
    assert "\n" not in str(raised.value)


def test_bad_settings_and_networks(net):
    with pytest.raises(ValueError, match=r"^images must be at least 2; got 1$"):
        RulerSettings(images=1)
    with pytest.raises(ValueError, match=r"^model must be in evaluation mode to be judged; call model.eval\(\)$"):
        rank_mechanisms(net.train(), colours(4), progress=False)
    net.eval()
    with torch.no_grad():
        net.fc.bias[0] = math.nan
    with pytest.raises(ValueError, match=r"network's weights 'fc.bias' are not finite"):
        rank_mechanisms(net, colours(4), progress=False)
