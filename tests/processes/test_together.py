"""Two and three processes together find what one finds alone."""

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from looksharp import cli
from looksharp.explaining.shard import read_maps

IMAGES = 13

TOGETHER = """
import os, sys
from copy import deepcopy
from dataclasses import replace

import torch
from torch import distributed, multiprocessing
from torch.distributed.device_mesh import init_device_mesh

from looksharp import evaluate
from looksharp.batch import Batch
from looksharp.data.sets.synthetic import biased_digits
from looksharp.data.split import Data
from looksharp.networks import SmallNet
from looksharp.objectives.parsing import build_objective, parse_objective
from looksharp.processes.gathering import summed
from looksharp.processes.joining import joined
from looksharp.processes.place import rank
from looksharp.suspects import find_groups, suspects
from looksharp.training.dividing import divide, put_away

FOLDER, IMAGES = sys.argv[1], int(sys.argv[2])

def facts(found):
    return {"values": found.values, "per_image": found.per_image, "tables": found.tables}

def gradients(objective):
    # Of two halves of a batch, averaged: by DDP's rule, and of weights that are divided.
    torch.manual_seed(0)
    whole, images, labels = SmallNet(10, width=8), torch.randn(16, 3, 32, 32), torch.randint(10, (16,))
    divided, half = deepcopy(whole), Batch(images[rank() :: 2], labels[rank() :: 2])
    divide(divided, init_device_mesh("cpu", (2,)))
    found = {"whole": {}, "divided": {}}
    for name, network in {"whole": whole, "divided": divided}.items():
        build_objective(parse_objective(objective))(network, half).loss.backward()
        put_away(network)
        for place, weight in network.named_parameters():
            average = summed(weight.grad) / 2 if name == "whole" else weight.grad.full_tensor()
            found[name][place] = average
    return found

def work(number, count, port):
    os.environ |= {"RANK": str(number), "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    data = biased_digits(train=IMAGES, val=1, test=IMAGES)
    (split, *_) = data.tests.values()
    torch.manual_seed(0)
    network = SmallNet(10, width=8).eval()
    several = replace(split, targets=torch.randint(-1, 2, (IMAGES, 10)).float(), groups=None)
    with joined():
        assert distributed.is_initialized() == (count > 1)
        patches = suspects(network, data, n=4, batch_size=4, progress=False)
        options = {"tested": 2, "keep": f"{FOLDER}/regions-{count}", "batch_size": 4, "progress": False}
        groups = find_groups(network, data, patches, **options).groups.groups
        result = {
            "single": facts(evaluate(network, split, data.pixels, suites="all", batch_size=4)),
            "multi": facts(evaluate(network, several, data.pixels, suites=["classification", "ten_crop"])),
            "suspects": [[each.index, each.label, each.cluster, each.score, each.share] for each in patches.chosen],
            "groups": [[vars(region) for region in group.regions] for group in groups],
            "tests": [{name: figure.share for name, figure in group.tests.items()} for group in groups],
        }
        if count == 2:
            result |= {each: gradients(each) for each in ("icasc", "gain")}
    torch.save(result, f"{FOLDER}/{count}-{number}.pt")

if __name__ == "__main__":
    for count in (1, 2, 3):
        port = str(20_000 + os.getpid() % 20_000 + count)
        multiprocessing.start_processes(work, (count, port), nprocs=count, start_method="fork")
"""


def differences(one, other, place=""):
    """Yield where two results differ by more than 1e-6."""
    if isinstance(one, torch.Tensor):
        assert one.shape == other.shape, place
        yield from [] if torch.allclose(one, other, 0, 1e-6, equal_nan=True) else [place]
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), place
        for name, value in one.items():
            yield from differences(value, other[name], f"{place}/{name}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), place
        for number, (value, known) in enumerate(zip(one, other, strict=True)):
            yield from differences(value, known, f"{place}/{number}")
    elif isinstance(one, float):
        yield from [] if math.isclose(one, other, rel_tol=0, abs_tol=1e-6) else [place]
    elif one != other:
        yield place


def test_two_and_three_processes_find_what_one_does(tmp_path):
    """Every suite, of images that cannot be divided evenly; and suspects."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", TOGETHER, str(tmp_path), str(IMAGES)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    alone = torch.load(tmp_path / "1-0.pt", weights_only=False)
    assert {len(column) for column in alone["single"]["per_image"].values()} == {IMAGES}
    assert {"top1", "attention_inside", "exchanged_across", "miou", "randomised_rank", "road", "max_box_acc"} <= set(
        alone["single"]["values"]
    )
    kept = {count: list((tmp_path / f"regions-{count}").iterdir()) for count in (1, 2, 3)}
    assert [len(files) for files in kept.values()] == [1, 2, 3]
    (once, *others) = (sorted(int(i) for file in files for i in np.load(file)["images"]) for files in kept.values())
    assert others == [once, once]  # no image is looked at twice
    for count in (2, 3):
        for number in range(count):
            found = torch.load(tmp_path / f"{count}-{number}.pt", weights_only=False)
            halves = {name: found.pop(name) for name in ("icasc", "gain") if count == 2}
            assert not list(differences(alone, found))
            for gradients in halves.values():  # second derivatives go through divided weights
                assert all(bool(gradient.any()) for gradient in gradients["whole"].values())
                for name, whole in gradients["whole"].items():
                    torch.testing.assert_close(gradients["divided"][name], whole, rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder, and a folder of images to explain."""
    folder = tmp_path_factory.mktemp("run")
    few = ["--digits.train", "32", "--digits.val", "16", "--digits.test", "16", "--epochs", "1", "--batch_size", "16"]
    quick = ["--device", "cpu", "--workers", "0"]
    assert cli.main(["train", "--out", str(folder / "run"), *few, *quick]) == 0
    (folder / "images").mkdir()
    drawn = np.random.default_rng(0).integers(0, 255, (IMAGES, 32, 32, 3), dtype=np.uint8)
    for number, pixels in enumerate(drawn):
        Image.fromarray(pixels).save(folder / "images" / f"{number:02d}.png")
    return folder


def test_a_killed_process_ends_the_others_and_the_work_goes_on_alone(run, tmp_path):
    """Two processes under torchrun explain a folder; one is killed, and one process goes on with what is missing."""
    flags = ["--device", "cpu", "--workers", "0", "--shard_size", "2", "--batch_size", "1", "--classes", "top2"]
    given = ["explain", str(run / "run"), str(run / "images"), *flags]
    dear = ["--mechanism", "rise:200"]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "looksharp"]
    process = subprocess.Popen(
        [sys.executable, *launcher, *given, *dear, "--out", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    try:
        while not (tmp_path / "out" / "maps-000000.parquet").exists():
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.02)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        second = [each for each in children if b"RANK=1\0" in Path(f"/proc/{each}/environ").read_bytes()]
        os.kill(int(second[-1]), signal.SIGKILL)
        started = time.monotonic()
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert time.monotonic() - started < 30
    assert process.returncode != 0
    lines = [line for line in said.replace("\r", "\n").splitlines() if line.startswith("looksharp:")]
    assert len(lines) <= 1  # torchrun says which one ended
    assert "SIGKILL" in said
    kept = sorted(path.name for path in (tmp_path / "out").glob("maps-*.parquet"))
    assert 0 < len(kept) < 7
    times = {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in kept}
    assert cli.main([*given, *dear, "--out", str(tmp_path / "out")]) == 0
    assert cli.main([*given, *dear, "--out", str(tmp_path / "alone")]) == 0
    assert {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in kept} == times  # none is made again
    found, alone = (list(read_maps(tmp_path / name)) for name in ("out", "alone"))
    assert [(each.index, each.name) for each in found] == [(each.index, each.name) for each in alone]
    assert [each.index for each in found] == [index for index in range(IMAGES) for _ in range(2)]
    for one, other in zip(found, alone, strict=True):
        np.testing.assert_allclose(one.map, other.map, rtol=1e-3, atol=1e-6)
