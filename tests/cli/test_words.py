"""Files that cannot be read as what they should be: one line that names the file, the setting and the mend."""

import numpy as np
import pytest
from PIL import Image

from looksharp import cli

BINARY = bytes(range(256))
SETTINGS = {
    'epochs: "48"': "epochs must be a whole number of at least 1; got '48'; leave out the quotes",
    'digits: {train: "48"}': "digits.train must be a whole number of at least 1 and at most 500000; got '48'; leave",
    "val_share: .nan": "val_share must be at least 0 and below 1; got nan",
    "marks: data\nmarked: .nan": "marked must be above 0; got nan",
    "batch_size: 0": "batch_size must be at least 1; got 0",
    "epoch: 3": "'epoch' is not a setting; did you mean 'epochs'?",
    "- epochs": "must hold settings, name: value; got ['epochs']",
    "epochs: [": "is not YAML: ",
}


def line(capsys, *arguments):
    """The one line that a command ends with."""
    assert cli.main(list(arguments)) == 2
    (said,) = capsys.readouterr().err.splitlines()
    return said


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder, with an image folder of two classes in it."""
    monkeypatch.chdir(tmp_path)
    for name in ("images/train/a", "images/train/b"):
        (tmp_path / name).mkdir(parents=True)
        for number in range(4):
            Image.fromarray(np.full((32, 32, 3), number, np.uint8)).save(tmp_path / name / f"{number}.png")
    return tmp_path


@pytest.mark.parametrize("text", SETTINGS)
def test_a_file_of_settings(text, folder, capsys):
    (folder / "own.yaml").write_text(text)
    said = line(capsys, "train", "--config", "own.yaml", "--out", "run")
    assert said.startswith("looksharp: error: own.yaml")
    assert SETTINGS[text] in said
    assert not (folder / "run").exists()


def test_a_flag_is_not_blamed_on_the_file(folder, capsys):
    (folder / "own.yaml").write_text("epochs: 3\nlr: 0.1")
    said = line(capsys, "train", "--config", "own.yaml", "--epochs", "0", "--out", "run")
    assert said == "looksharp: error: epochs must be at least 1; got 0"


@pytest.mark.parametrize("content", [b"", BINARY, b"\xff\xfe\x00"], ids=["empty", "binary", "UTF-16"])
@pytest.mark.parametrize(
    ("file", "arguments"),
    [
        ("images/groups.csv", ()),
        ("marks.json", ("--marks", "marks.json", "--objective", "classification+energy")),
        ("marks.xml", ("--marks", "marks.xml", "--objective", "classification+energy")),
        ("data.yaml", ("--marks", "data.yaml", "--objective", "classification+energy")),
        ("a.safetensors", ("--weights", "a.safetensors")),
        ("a.ckpt", ("--weights", "a.ckpt")),
    ],
)
def test_a_file_that_is_empty_or_binary(content, file, arguments, folder, capsys):
    (folder / file).write_bytes(content)
    said = line(
        capsys, "train", "--data", "images", "--backbone", "small", "--device", "cpu", "--out", "run", *arguments
    )
    assert file in said
    assert "codec" not in said
    assert not (folder / "run").exists()


@pytest.mark.parametrize("name", ["run.json", "config.yaml"])
@pytest.mark.parametrize("content", [b"", BINARY], ids=["empty", "binary"])
@pytest.mark.parametrize(
    "command", ["evaluate", "suspects", "cure --marks data", "compare run", "explain --out e image"]
)
def test_a_file_of_a_run(command, content, name, folder, capsys):
    (folder / "run").mkdir()
    (folder / "run" / "config.yaml").write_text("data: digits")
    (folder / "run" / name).write_bytes(content)
    first, *rest = command.split()
    said = line(capsys, first, "run", *rest)
    assert "run/" in said or said.startswith("looksharp: error: run ")
    assert "codec" not in said
