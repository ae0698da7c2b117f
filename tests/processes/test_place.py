import pytest
import torch

from looksharp.data.sampling import InOrder
from looksharp.processes import place
from looksharp.processes.gathering import agreed, gathered, summed
from looksharp.training.folder import find_device


@pytest.fixture
def as_process(monkeypatch):
    """Make this process one of several."""

    def be(rank, count):
        monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.distributed, "get_rank", lambda: rank)
        monkeypatch.setattr(torch.distributed, "get_world_size", lambda: count)

    return be


@pytest.mark.parametrize(("images", "count"), [(10, 1), (10, 3), (7, 7), (2, 3), (0, 2), (100, 8)])
def test_shares_are_all_places_in_order(images, count, as_process):
    shares = []
    for rank in range(count):
        as_process(rank, count)
        shares.append(list(place.own_places(images)))
        assert (place.rank(), place.processes(), place.is_first()) == (rank, count, rank == 0)
    assert [each for share in shares for each in share] == list(range(images))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(("images", "size"), [(53, 8), (9, 4), (33, 16), (3, 2), (4, 1), (64, 64)])
def test_processes_share_batches_so_that_none_waits_for_another(images, size, as_process):
    counts, seen = [], []
    for rank in range(3):
        as_process(rank, 3)
        batches = InOrder(images, size, shared=True)
        found = list(batches)
        counts.append(len(batches))
        assert all(0 < len(batch) <= size for batch in found)
        assert len(found) == len(batches) or size == 1
        seen += [each for batch in found for each in batch]
        assert list(InOrder(images, size)) == [list(range(images))[i : i + size] for i in range(0, images, size)]
    assert seen == list(range(images))
    assert len(set(counts)) == 1


def test_fewer_images_than_processes(as_process):
    as_process(2, 3)
    assert list(InOrder(2, 4, shared=True)) == [[0, 1]]  # each has all, since none may be left without
    with pytest.raises(ValueError, match=r"^3 processes cannot share 2 images; start at most 2$"):
        place.check_shares(2)
    place.check_shares(3)


def test_one_process_has_all():
    values = torch.tensor([1.0, 2.0])
    assert gathered(values) is values
    assert summed(values) is values
    assert agreed("kept") == "kept"
    assert place.own_places(5) == range(5)


def test_each_process_of_a_machine_has_its_own_accelerator(monkeypatch):
    """As Lightning and torchrun number them; the data that is kept in memory lies there too."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 4)
    assert find_device("auto") == torch.device("cuda")
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert find_device("auto") == find_device("cuda") == torch.device("cuda", 3)
    assert find_device("cpu") == torch.device("cpu")
    assert find_device("cuda:1") == torch.device("cuda", 1)
    monkeypatch.delenv("LOCAL_RANK")
    monkeypatch.setenv("SLURM_LOCALID", "5")
    assert find_device("auto") == torch.device("cuda", 1)
