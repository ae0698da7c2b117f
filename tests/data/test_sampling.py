from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import hypergeom
from torch import distributed

from looksharp.data.sampling import InOrder, Shuffled, strata_of
from looksharp.data.sets.synthetic import biased_digits, digits


def flat(batches):
    return [place for batch in batches for place in batch]


@pytest.fixture
def processes(monkeypatch):
    """Pretend to be one of several processes."""

    def pretend(rank, world):
        monkeypatch.setattr(distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(distributed, "get_rank", lambda: rank)
        monkeypatch.setattr(distributed, "get_world_size", lambda: world)

    return pretend


@pytest.mark.parametrize(("images", "size", "lengths"), [(7, 3, [3, 3, 1]), (6, 3, [3, 3]), (2, 5, [2]), (0, 4, [])])
def test_in_order_is_every_image_in_order(images, size, lengths):
    batches = InOrder(images, size)
    assert flat(batches) == list(range(images))
    assert [len(batch) for batch in batches] == lengths
    assert len(batches) == len(lengths)


def test_in_order_needs_a_batch_size():
    with pytest.raises(ValueError, match=r"^batch_size must be at least 1; got 0$"):
        InOrder(4, 0)


def test_every_image_once_an_epoch_in_another_order_each():
    batches = Shuffled(40, 8, seed=0)
    orders = []
    for _ in range(3):
        listed = list(batches)
        assert [len(batch) for batch in listed] == [8] * 5
        assert len(batches) == 5
        assert sorted(flat(listed)) == list(range(40))
        orders.append(flat(listed))
    assert len({tuple(order) for order in orders}) == 3
    assert list(range(40)) not in orders


def test_seed_and_epoch_determine_the_batches():
    running = Shuffled(40, 8, 3, marked=[1, 2, 3], marked_per_batch=2)
    epochs = [list(running) for _ in range(3)]
    assert running.epoch == 3
    for epoch in (2, 0, 1):
        fresh = Shuffled(40, 8, 3, marked=[1, 2, 3], marked_per_batch=2)
        fresh.set_epoch(epoch)
        assert list(fresh) == epochs[epoch]
    assert list(Shuffled(40, 8, 4, marked=[1, 2, 3], marked_per_batch=2)) != epochs[0]


def test_no_seed_repeats_the_epochs_of_another():
    drawn = set()
    for seed in range(3):
        batches = Shuffled(40, 8, seed)
        drawn |= {tuple(flat(batches)) for _ in range(3)}
    assert len(drawn) == 9


@pytest.mark.parametrize(
    ("images", "size", "lengths"), [(11, 4, [4, 4]), (3, 4, [3]), (4, 4, [4]), (7, 4, [4]), (1, 9, [1])]
)
def test_an_incomplete_batch_is_dropped_unless_it_is_the_only_one(images, size, lengths):
    batches = Shuffled(images, size, 0)
    listed = list(batches)
    assert [len(batch) for batch in listed] == lengths
    assert len(batches) == len(lengths)
    assert len(set(flat(listed))) == sum(lengths)


def test_what_is_dropped_in_one_epoch_comes_in_another():
    batches = Shuffled(11, 4, 0)
    assert set(flat(batches)) | set(flat(batches)) | set(flat(batches)) | set(flat(batches)) == set(range(11))


@pytest.mark.parametrize("guided", [[5], [3, 8, 21, 30], list(range(0, 36, 2))])
def test_marked_places_come_from_guided_images_which_take_turns(guided):
    batches = Shuffled(36, 9, 1, marked=guided, marked_per_batch=3)
    listed = list(batches)
    assert len(listed) == len(batches) == 6
    assert sorted(place for batch in listed for place in batch[:6]) == list(range(36))
    assert {len(batch) for batch in listed} == {9}
    turns = Counter(place for batch in listed for place in batch[6:])
    assert set(turns) <= set(guided)
    counts = [turns[place] for place in guided]
    assert sum(counts) == 18
    assert max(counts) - min(counts) <= 1


def test_no_guided_place_leaves_guided_images_where_they_fall():
    assert list(Shuffled(12, 4, 5, marked=[0, 1])) == list(Shuffled(12, 4, 5))


@pytest.mark.parametrize("marked_per_batch", [0, 1])
@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_the_batches(processes, world, marked_per_batch):
    def batches():
        return Shuffled(48, 4 + marked_per_batch, 7, marked=[2, 9, 40], marked_per_batch=marked_per_batch)

    alone = list(batches())
    shares = []
    for rank in range(world):
        processes(rank, world)
        share = batches()
        shares.append(list(share))
        assert len(share) == len(shares[-1]) == 12 // world
    together = [batch for step in zip(*shares, strict=True) for batch in step]
    assert together == alone
    assert sorted(place for batch in together for place in batch[:4]) == list(range(48))


def test_every_process_has_as_many_batches_as_the_others(processes):
    shares = []
    for rank in range(2):
        processes(rank, 2)
        shares.append(list(Shuffled(20, 4, 0)))  # five batches
    assert [len(share) for share in shares] == [2, 2]
    assert len(set(flat(shares[0])) | set(flat(shares[1]))) == 16


def test_images_come_again_where_processes_are_more_than_batches(processes):
    shares = []
    for rank in range(4):
        processes(rank, 4)
        shares.append(list(Shuffled(6, 4, 0)))
    assert [[len(batch) for batch in share] for share in shares] == [[4]] * 4
    counts = Counter(place for share in shares for place in flat(share))
    assert set(counts) == set(range(6))
    assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize("wanted", [-1, 4, 9])
def test_marked_places_must_leave_room(wanted):
    message = rf"^marked_per_batch must be 0 to 3, below batch_size; got {wanted}$"
    with pytest.raises(ValueError, match=message):
        Shuffled(10, 4, 0, marked=[1], marked_per_batch=wanted)


def test_marked_places_need_guided_images():
    with pytest.raises(ValueError, match=r"^marked_per_batch is 2, but no image is marked; give --marks$"):
        Shuffled(10, 4, 0, marked_per_batch=2)


# Balance ---------------------------------------------------------------------------------------------------------

STRATA = torch.tensor([0] * 50 + [3] * 3 + [1] * 7)  # class 2 has no image


def drawn_of(order):
    return Counter(STRATA[order].tolist())


def test_strata_are_drawn_equally_often_and_their_images_take_turns():
    batches = Shuffled(60, 6, 0, strata=STRATA)
    for _ in range(3):
        listed = list(batches)
        assert [len(batch) for batch in listed] == [6] * 10
        assert drawn_of(flat(listed)) == {0: 20, 3: 20, 1: 20}
        times = Counter(flat(listed))
        for stratum in (0, 1, 3):
            counts = [times[place] for place in (STRATA == stratum).nonzero().flatten().tolist()]
            assert max(counts) - min(counts) <= 1


def test_strata_that_do_not_divide_the_epoch_differ_by_one_and_no_one_always_goes_short():
    short = Counter()
    for seed in range(60):
        counts = drawn_of(flat(Shuffled(59, 59, seed, strata=STRATA[:59])))
        assert sorted(counts.values()) == [19, 20, 20]
        short[min(counts, key=counts.get)] += 1
    assert all(short[stratum] > 8 for stratum in (0, 1, 3))


def test_balanced_batches_are_mixed():
    """Batches hold about as many of each stratum: as drawn without order, hypergeometric."""
    batches = Shuffled(60, 6, 0, strata=STRATA)
    shares = [STRATA[batch].eq(3).sum().item() for _ in range(60) for batch in batches]
    assert np.mean(shares) == 2
    expected = hypergeom(60, 20, 6).var()
    assert np.var(shares) == pytest.approx(expected, rel=0.15)


def test_all_images_of_a_large_stratum_come_in_some_epoch():
    batches = Shuffled(60, 6, 0, strata=STRATA)
    assert set().union(*(flat(batches) for _ in range(12))) == set(range(60))


def test_seed_and_epoch_determine_balanced_batches():
    def fresh(seed=3):
        return Shuffled(60, 8, seed, marked=[1, 2, 55], marked_per_batch=2, strata=STRATA)

    running = fresh()
    epochs = [list(running) for _ in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]
    for epoch in (2, 0, 1):
        resumed = fresh()
        resumed.set_epoch(epoch)
        assert list(resumed) == epochs[epoch]
    assert list(fresh(4)) != epochs[0]


def test_marked_places_stay_beside_balanced_ones():
    listed = list(Shuffled(60, 9, 1, marked=[4, 52], marked_per_batch=3, strata=STRATA))
    assert len(listed) == 10
    assert drawn_of([place for batch in listed for place in batch[:6]]) == {0: 20, 3: 20, 1: 20}
    assert Counter(place for batch in listed for place in batch[6:]) == {4: 15, 52: 15}


def test_one_stratum_is_every_image_once():
    listed = list(Shuffled(40, 8, 0, strata=torch.zeros(40, dtype=torch.long)))
    assert sorted(flat(listed)) == list(range(40))


def test_processes_share_balanced_batches(processes):
    alone = list(Shuffled(60, 6, 7, strata=STRATA))
    shares = []
    for rank in range(2):
        processes(rank, 2)
        shares.append(list(Shuffled(60, 6, 7, strata=STRATA)))
    assert [batch for step in zip(*shares, strict=True) for batch in step] == alone


def test_what_is_balanced():
    split = biased_digits(0.5, train=30, val=1, test=1).splits["train"]
    assert strata_of(split, "none") is None
    assert strata_of(split, "class") is split.targets
    assert strata_of(split, "group") is split.groups


def test_what_cannot_be_balanced():
    split = digits(train=4, val=1, test=1).splits["train"]
    with pytest.raises(ValueError, match=r"^balance 'group' needs the images' groups, .* or take balance 'class'$"):
        strata_of(split, "group")
    with pytest.raises(ValueError, match=r"^balance 'class' needs one class for each image, but these may have sev"):
        strata_of(replace(split, targets=torch.zeros(4, 10)), "class")
    with pytest.raises(ValueError, match=r"^balance must be one of none, class, group; got 'colour'$"):
        strata_of(split, "colour")
