import pytest
import torch

from looksharp.metrics.cue import cue_scores


def test_scores_are_those_of_a_loop():
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(6, 8, 8, generator=generator)
    cues = (torch.rand(6, 8, 8, generator=generator) < 0.3).float()
    found = cue_scores(maps, cues)
    for n, (scores, cue) in enumerate(zip(maps, cues, strict=True)):
        peak = max(float(v) for v in scores.flatten())
        hit = on = total = covered = 0.0
        for row in range(8):
            for column in range(8):
                value, inside = float(scores[row, column]), bool(cue[row, column])
                total += value
                on += value * inside
                hit += inside and value == peak
                covered += inside and value >= peak / 2
        assert float(found["cue_found"][n]) == hit
        assert float(found["cue_chance"][n]) == pytest.approx(float(cue.mean()))
        assert float(found["cue_energy"][n]) == pytest.approx(on / total)
        assert float(found["cue_covered"][n]) == pytest.approx(covered / float(cue.sum()))


def test_an_empty_map_finds_nothing():
    found = cue_scores(torch.zeros(1, 4, 4), torch.ones(1, 4, 4))
    assert {name: float(values) for name, values in found.items()} == {
        "cue_found": 0,
        "cue_chance": 1,
        "cue_energy": 0,
        "cue_covered": 0,
    }


def test_a_coarse_map_finds_a_cue_that_its_position_touches():
    maps, cues = torch.rand(40, 3, 3), torch.zeros(40, 12, 12)
    corners = torch.randint(0, 9, (40, 2)).tolist()
    for cue, (row, column) in zip(cues, corners, strict=True):
        cue[row : row + 3, column : column + 3] = 1
    found = cue_scores(maps, cues)
    for n, (row, column) in enumerate(corners):
        peak = divmod(int(maps[n].argmax()), 3)
        touched = {(r // 4, c // 4) for r in range(row, row + 3) for c in range(column, column + 3)}
        assert float(found["cue_found"][n]) == (peak in touched)
        assert float(found["cue_chance"][n]) == pytest.approx(len(touched) / 9)
