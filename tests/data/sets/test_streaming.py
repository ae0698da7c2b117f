import http.server
import io
import json
import re
import shutil
import sys
import tarfile
import threading

import pytest
import torch
from PIL import Image

from looksharp.data.build import DataConfig, build_data
from looksharp.data.hold_out import hold_out
from looksharp.data.marked import choose_marked
from looksharp.data.sampling import InOrder, Shuffled
from looksharp.data.sets.streaming import read_shards
from looksharp.data.split import Pixels
from looksharp.data.splits import stream
from looksharp.data.splits.shards import stored_samples
from looksharp.training.history import read_history
from looksharp.training.run import train
from looksharp.training.settings import MarksConfig, OptimizationConfig, RunConfig, TrainingConfig

pytest.importorskip("webdataset")

PIXELS = Pixels((8, 8), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def encoded(value, kind="png"):
    file = io.BytesIO()
    Image.new("L", (12, 10), value).save(file, kind)
    return file.getvalue()


def write_shard(path, files, mode="w"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def samples(values, classes=2):
    """Image `value` is a grey of that brightness, its class the remainder."""
    for value in values:
        yield f"set/{value:04d}.png", encoded(value)
        yield f"set/{value:04d}.cls", str(value % classes).encode()
        yield f"set/{value:04d}.json", b"{}"


@pytest.fixture
def folder(tmp_path):
    """Four shards of 8, 5, 7 and 6 images: greys 1 to 26; another of greys 101 to 104."""
    start = 1
    for number, count in enumerate((8, 5, 7, 6)):
        write_shard(tmp_path / f"train-{number:04d}.tar", samples(range(start, start + count)))
        start += count
    write_shard(tmp_path / "val-0000.tar", samples(range(101, 105)))
    return tmp_path


def read(folder, **settings):
    return hold_out(read_shards(f"{folder}/train-{{0000..0003}}.tar", val_shards=f"{folder}/val-0000.tar", **settings))


def greys(batch):
    return (batch.image.mean((1, 2, 3)) * 255).round().int().tolist()


def epoch_of(split, batch_size=5, seed=0, epoch=0, **settings):
    batches = Shuffled(len(split), batch_size, seed)
    batches.set_epoch(epoch)
    loader = split.loader(batches, PIXELS, seed=seed, **settings)
    found = list(loader)
    assert len(found) == len(loader) == len(split) // batch_size
    assert all(batch.target.tolist() == [grey % 2 for grey in greys(batch)] for batch in found)
    return [grey for batch in found for grey in greys(batch)]


def test_an_epoch_has_every_image_once_but_the_incomplete_batch(folder):
    train = read(folder).splits["train"]
    assert len(train) == 26
    assert train.targets.tolist() == [grey % 2 for grey in range(1, 27)]
    shown = epoch_of(train)
    assert len(set(shown)) == len(shown) == 25
    assert set(shown) < set(range(1, 27))
    assert sorted(epoch_of(train, batch_size=13)) == list(range(1, 27))


def test_order_follows_seed_and_epoch_alone(folder):
    train = read(folder).splits["train"]
    first = epoch_of(train)
    assert first == epoch_of(train) == epoch_of(train, workers=2)
    others = [epoch_of(train, epoch=1), epoch_of(train, seed=1)]
    assert first not in others
    assert others[0] != others[1]
    batches = Shuffled(26, 13, 0)
    loader = train.loader(batches, PIXELS)  # epochs count themselves, as those of other splits do
    twice = [[grey for batch in loader for grey in greys(batch)] for _ in range(2)]
    assert twice == [epoch_of(train, 13), epoch_of(train, 13, epoch=1)]


def test_a_small_buffer_mixes_neighbours_only(folder, monkeypatch):
    monkeypatch.setattr(stream, "_BUFFER", 2)
    shown = epoch_of(read(folder).splits["train"], batch_size=26)
    assert sorted(shown) == list(range(1, 27))
    shards = [next(n for n, last in enumerate((8, 13, 20, 26)) if grey <= last) for grey in shown]
    order = list(dict.fromkeys(shards))
    places = {grey: place for place, grey in enumerate(
        grey for n in order for grey in range(*((1, 9), (9, 14), (14, 21), (21, 27))[n])
    )}  # fmt: skip
    # A sample leaves no earlier than it fits: of what has been read, all but one are out.
    assert all(places[grey] <= place + 2 for place, grey in enumerate(shown))


def test_augmentation_is_drawn_by_seed(folder):
    write_shard(
        folder / "train-0000.tar", [("a.png", stripes()), ("a.cls", b"0"), ("b.png", stripes()), ("b.cls", b"1")]
    )
    train = hold_out(read_shards(f"{folder}/train-0000.tar", val_shards=f"{folder}/val-0000.tar")).splits["train"]

    def images(seed, workers=0):
        (batch,) = train.loader(Shuffled(2, 2, seed), PIXELS, augment="resized_crop_flip", seed=seed, workers=workers)
        return batch.image

    assert torch.equal(images(0), images(0, workers=1))
    assert not torch.equal(images(0)[0], images(0)[1])
    assert not torch.equal(images(0), images(1))


def stripes():
    file = io.BytesIO()
    Image.linear_gradient("L").resize((20, 20)).save(file, "png")
    return file.getvalue()


def test_processes_share_the_shards(folder, monkeypatch):
    train = read(folder).splits["train"]
    shown = []
    for rank in range(2):
        monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        loader = train.loader(Shuffled(26, 3, 0), PIXELS)
        shown.append({grey for batch in loader for grey in greys(batch)})
        assert len(loader) == 4
    assert not shown[0] & shown[1]
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 5)
    with pytest.raises(ValueError, match=r"^there must be a shard for each of 5 processes; got 4$"):
        train.loader(Shuffled(26, 3, 0), PIXELS)


def test_a_process_of_small_shards_begins_them_again(tmp_path, monkeypatch):
    write_shard(tmp_path / "a.tar", samples(range(1, 11)))
    write_shard(tmp_path / "b.tar", samples(range(11, 13)))
    train = hold_out(read_shards(f"{tmp_path}/{{a,b}}.tar", val_shards=f"{tmp_path}/b.tar")).splits["train"]
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    counts = []
    for rank in range(2):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        shown = [grey for batch in train.loader(Shuffled(12, 2, 0), PIXELS) for grey in greys(batch)]
        counts.append((len(shown), len(set(shown))))
    assert sorted(counts) == [(6, 2), (6, 6)]  # six each, though one has two images


def test_validation_images_lie_where_they_are(folder):
    val = read(folder).splits["val"]
    assert val.targets.tolist() == [1, 0, 1, 0]
    assert [int(val.image(place)[0, 0, 0]) for place in (3, 0)] == [104, 101]
    (batch,) = val.loader(InOrder(4, 4), PIXELS, workers=1)
    assert greys(batch) == [101, 102, 103, 104]
    assert all(isinstance(sample.content, tuple) for sample in val.samples)
    packed = write_shard(folder / "val.tar.gz", samples(range(101, 105)), "w:gz")
    data = hold_out(read_shards(f"{folder}/train-0000.tar", val_shards=str(packed)))
    assert [int(data.splits["val"].image(place)[0, 0, 0]) for place in range(4)] == [101, 102, 103, 104]


def test_the_last_shards_are_held_out(folder):
    data = build_data(DataConfig(f"wds:{folder}/train-{{0000..0003}}.tar", image_size=16, val_share=0.3))
    assert [len(split) for split in data.splits.values()] == [20, 6]
    assert [int(data.splits["val"].image(place)[0, 0, 0]) for place in range(6)] == list(range(21, 27))
    assert (data.classes, data.pixels.size) == (("0", "1"), (16, 16))
    assert data.tests == {"val": data.splits["val"]}


def test_sizes_and_names_beside_the_shards(folder):
    (folder / "sizes.json").write_text(json.dumps({f"train-{n:04d}.tar": c for n, c in enumerate((8, 5, 7, 6))}))
    (folder / "classes.txt").write_text("even\nodd\n")
    data = read(folder)
    assert data.classes == ("even", "odd")
    assert len(data.splits["train"]) == 26
    assert data.splits["train"].targets.unique().tolist() == [-1]  # not looked up
    assert sorted(epoch_of(data.splits["train"], 13)) == list(range(1, 27))


@pytest.mark.skipif(shutil.which("curl") is None, reason="webdataset opens URLs by curl")
def test_shards_by_url(folder):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        with pytest.raises(ValueError, match=rf"^sizes.json must lie beside {url}/train-0000.tar, with the number of"):
            read(url)
        sizes = {f"train-{n:04d}.tar": c for n, c in enumerate((8, 5, 7, 6))}
        (folder / "sizes.json").write_text(json.dumps(sizes))
        data = read(url)
        assert sorted(epoch_of(data.splits["train"], 13)) == list(range(1, 27))
        assert int(data.splits["val"].image(2)[0, 0, 0]) == 103
        with pytest.raises(ValueError, match=rf"^shard {url}/none-0.tar cannot be read: "):
            stored_samples(f"{url}/none-0.tar")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_what_a_stream_cannot_do_is_refused(folder):
    data = read(folder)
    train = data.splits["train"]
    chosen = "^a stream of shards is read in its own order, for training alone: balance must be none, and neither"
    for batches in (InOrder(26, 4), Shuffled(26, 4, 0, strata=train.targets), Shuffled(26, 4, 0, [1], 1)):
        with pytest.raises(ValueError, match=chosen):
            train.loader(batches, PIXELS)
    with pytest.raises(ValueError, match=r"^images of shards such as .*train-0000\.tar are read in their order alone"):
        train.image(0)
    with pytest.raises(ValueError, match=r"need images that are files; wds:.* is not an image folder$"):
        choose_marked(data, MarksConfig(str(folder)), 0)
    with pytest.raises(ValueError, match=r"^marks is 'data', but wds:.* has no masks"):
        choose_marked(data, MarksConfig("data"), 0)


def fails(source, message, val_shards=None, val_share=0.1):
    with pytest.raises(ValueError, match=message):
        hold_out(read_shards(str(source), val_shards=val_shards), val_share)


def test_broken_shards(folder):
    home, val = re.escape(str(folder)), str(folder / "val-0000.tar")
    fails(
        folder / "train-{0003..0006}.tar", rf"^shard {home}/train-0004\.tar does not exist, nor do 2 others of 4$", val
    )
    fails(folder / "train-0000.tar", r"^val_shards must name shards to validate on: val_share 0\.1 holds out 1 of 1")
    fails(
        folder / "train-{0000..0001}.tar",
        r"^wds:.* has neither val nor test; val_share must be above 0$",
        val_share=0,
    )
    broken = folder / "broken.tar"
    broken.write_bytes(b"<html>not found</html>" * 100)
    fails(broken, rf"^shard {home}/broken\.tar cannot be read: ", val)
    write_shard(broken, [])
    fails(broken, rf"^shards {home}/broken\.tar to {home}/broken\.tar hold no sample$", val)
    write_shard(broken, [("7.txt", b"a dog"), ("7.cls", b"0")])
    fails(broken, rf"^sample 7 of {home}/broken\.tar has no image: expected \.jpg, \.jpeg, .*; got \.txt, \.cls$", val)
    write_shard(broken, [("7.png", encoded(1)), ("7.cls", b"dog")])
    fails(broken, rf"^sample 7 of {home}/broken\.tar must have its class's number in \.cls; got 'dog'$", val)
    write_shard(broken, samples([2, 4]))
    fails(broken, rf"^class '1' has no image in shards {home}/broken\.tar to ", val)
    (folder / "sizes.json").write_text('{"train-0000.tar": 8}')
    fails(
        folder / "train-0000.tar",
        rf"^classes\.txt must lie beside {home}/train-0000\.tar, a name a line; or name val_shards$",
    )
    fails(broken, rf"^sizes\.json beside {home}/broken\.tar must give .* of every shard by its name; KeyError", val)
    (folder / "classes.txt").write_text("one\n")
    fails(folder / "train-0000.tar", rf"^sample set/0101 of {home}/val-0000\.tar is of class 1, but there are 1 ", val)


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ("x{0000..99999999}.tar", "100,000,000"),
        ("{a,b}/{0..999}/{0..999}.tar", "2,000,000"),
        ("{9..-99999}", "100,009"),
    ],
)
def test_more_shards_than_anybody_has_are_refused_at_once(pattern, count):
    fails(pattern, f"^wds:{re.escape(pattern)} names {count} shards; there may be 100,000$")


def test_faults_found_in_training(folder):
    (folder / "sizes.json").write_text('{"train-0000.tar": 2}')
    train, val = folder / "train-0000.tar", str(folder / "val-0000.tar")
    for files, message in (
        ([("7.png", encoded(1)), ("7.cls", b"5")], r"^sample 7 of .*train-0000\.tar is of class 5, but there are 2"),
        ([("7.png", b"none"), ("7.cls", b"1")], r"^sample 7 of .*train-0000\.tar cannot be read as an image: "),
        ([("7.png", encoded(1))], r"^sample 7 of .*train-0000\.tar must have its class's number in \.cls; got ''"),
    ):
        write_shard(train, files)
        split = hold_out(read_shards(str(train), val_shards=val)).splits["train"]
        with pytest.raises(ValueError, match=message):
            list(split.loader(Shuffled(2, 1, 0), PIXELS))
    write_shard(train, [])
    with pytest.raises(
        ValueError, match=r"^shards .*train-0000\.tar to .* hold no sample, unlike what sizes\.json says$"
    ):
        list(split.loader(Shuffled(2, 1, 0), PIXELS))
    write_shard(train, [("7.png", encoded(1))])
    train.write_bytes(train.read_bytes()[:700])
    with pytest.raises(ValueError, match=r"^shard .*train-0000\.tar cannot be read: "):
        list(split.loader(Shuffled(2, 1, 0), PIXELS))


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "webdataset.shardlists", None)
    with pytest.raises(
        ValueError, match=r"^data wds:a\.tar needs the package webdataset: pip install looksharp\[wds\]$"
    ):
        build_data(DataConfig("wds:a.tar"))


def test_shards_that_webdataset_itself_wrote_train_a_network(tmp_path):
    from webdataset import ShardWriter

    with ShardWriter(f"{tmp_path}/%04d.tar", maxcount=8, verbose=0) as writer:
        for number in range(24):
            label = number % 2
            writer.write(
                {"__key__": f"{number:06d}", "jpg": Image.new("RGB", (40, 36), (255 * label,) * 3), "cls": label}
            )
    config = RunConfig(
        data=DataConfig(f"wds:{tmp_path}/{{0000..0002}}.tar", image_size=32, val_share=0.34),
        optimization=OptimizationConfig(lr=0.01),
        training=TrainingConfig(epochs=2, batch_size=4, augment="crop_flip", device="cpu", workers=0),
    )
    train(config, tmp_path / "run", progress=False)
    rows = read_history(tmp_path / "run" / "metrics.csv")
    assert len(rows) == 2
    assert rows[-1]["val_top1"] == 1.0  # black or white
    assert json.loads((tmp_path / "run" / "run.json").read_text())["images"] == {"train": 16, "val": 8}
