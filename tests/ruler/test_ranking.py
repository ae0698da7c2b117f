import math

import numpy as np
import pytest
import torch

from looksharp.ruler.advice import advise, advised
from looksharp.ruler.cost import Cost
from looksharp.ruler.ranking import rank
from looksharp.ruler.results import CueFacts, Measured

ALL = CueFacts(known=200, hanging=200, share=0.03)


def measured(name, forwards=1.0, **scores):
    values = {score: torch.as_tensor(found, dtype=torch.float32) for score, found in scores.items()}
    if "cue_found" in scores:
        values["cue_chance"] = torch.full_like(values["cue_found"], 0.1)
    return Measured(name, values, Cost(forwards, 0.0), 0.001, torch.zeros(0, 1, 1))


def hits(share, images=200):
    return torch.arange(images) < share * images


def test_intervals_are_those_of_a_share():
    (standing,) = rank([measured("a", cue_found=hits(0.5))], by_cue=True)
    half = 1.96 * math.sqrt(0.5 * 0.5 / 200)  # the normal approximation
    assert standing.decisive.value == 0.5
    assert standing.decisive.low == pytest.approx(0.5 - half, abs=0.01)
    assert standing.decisive.high == pytest.approx(0.5 + half, abs=0.01)


def test_images_without_a_value_are_left_out():
    found = torch.cat([hits(0.5, 100).float(), torch.full((100,), torch.nan)])
    (standing,) = rank([measured("a", cue_found=found)], by_cue=True)
    half = 1.96 * math.sqrt(0.5 * 0.5 / 100)
    assert standing.decisive.low == pytest.approx(0.5 - half, abs=0.015)


def test_what_differs_by_chance_alone_is_as_good_and_the_cheapest_is_advised():
    dear = measured("dear", 50.0, cue_found=hits(0.84))
    cheap = measured("cheap", 1.0, cue_found=hits(0.8))
    bad = measured("bad", 0.5, cue_found=hits(0.4))
    standings = rank([bad, cheap, dear], by_cue=True)
    assert [(each.name, each.place, each.as_good) for each in standings] == [
        ("dear", 1, True),
        ("cheap", 2, False),  # eight images of 200, never the other way round: paired, that is a difference
        ("bad", 3, False),
    ]
    other = measured("cheap", 1.0, cue_found=hits(0.82).roll(20))
    standings = rank([bad, other, dear], by_cue=True)
    assert [each.as_good for each in standings] == [True, True, False]
    assert advised(standings, ALL).name == "cheap"
    text = advise(standings, ALL)
    assert text.startswith("On this network take cheap: it finds the cue in 82% (")
    assert text.endswith(" at 1.0 forwards; dear is as good and costs 50.")


def test_where_the_advice_is_dear_the_best_of_the_cheap_is_named_too():
    dear = measured("dear", 60.0, cue_found=hits(0.9))
    cheap = measured("cheap", 2.0, cue_found=hits(0.7))
    standings = rank([measured("bad", cue_found=hits(0.6)), cheap, dear], by_cue=True)
    assert advise(standings, ALL).endswith(
        " at 60 forwards; the next, cheap, has 70%; up to 3 forwards cheap is the best and has 70%."
    )


def test_ties_go_to_the_cheaper():
    standings = rank([measured("dear", 9.0, cue_found=hits(1)), measured("cheap", cue_found=hits(1))], by_cue=True)
    assert [each.name for each in standings] == ["cheap", "dear"]
    assert advise(standings, ALL).endswith(" at 1.0 forwards; dear is as good and costs 9.0.")
    standings = rank([measured("a", cue_found=hits(1)), measured("b", cue_found=hits(1))], by_cue=True)
    assert advise(standings, ALL).endswith(
        "take a: it finds the cue in 100% (100 to 100) at 1.0 forwards; b is as good and costs the same."
    )


def test_mean_ranks_are_those_of_a_loop():
    generator = torch.Generator().manual_seed(0)
    names = {"insertion": 1, "deletion": -1, "road": 1, "average_drop": -1}
    all_scores = [{name: torch.rand(30, generator=generator) for name in names} for _ in range(4)]
    all_scores[2].pop("road")  # undefined: last
    standings = rank([measured(str(m), **scores) for m, scores in enumerate(all_scores)], by_cue=False)
    for standing in standings:
        own = all_scores[int(standing.name)]
        ranks = []
        for name, sign in names.items():
            value = {m: sign * float(s[name].mean()) if name in s else -math.inf for m, s in enumerate(all_scores)}
            ranks.append(1 + sum(other > value[int(standing.name)] for other in value.values()))
            if name in own:
                assert standing.scores[name].value == pytest.approx(float(own[name].mean()))
        assert standing.decisive.value == pytest.approx(np.mean(ranks))
        assert standing.decisive.low <= standing.decisive.value <= standing.decisive.high
    assert [s.decisive.value for s in standings] == sorted(s.decisive.value for s in standings)


def test_equal_values_share_their_mean_rank():
    same = torch.rand(20)
    standings = rank([measured("a", 3.0, insertion=same), measured("b", 2.0, insertion=same)], by_cue=False)
    assert [(each.name, each.decisive.value) for each in standings] == [("b", 1.5), ("a", 1.5)]


def test_an_unknown_cost_is_said_and_is_never_the_cheapest():
    unknown = measured("unknown", math.nan, cue_found=hits(1))
    standings = rank([unknown, measured("known", cue_found=hits(1))], by_cue=True)
    assert advised(standings, ALL).name == "known"
    assert " at an unknown cost" in advise(rank([unknown], by_cue=True), ALL)
