import os
import subprocess
import sys
from pathlib import Path

import pytest

from looksharp import files
from looksharp.files import locked, read_mapping, read_text, remove_leftovers, replacing, was_killed, write_text


def test_the_file_is_replaced_at_the_end(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replacing(path) as temporary:
        assert temporary.parent == path.parent  # so that moving it is one step
        assert temporary.suffix == ".txt"  # savers tell formats by it
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyError), replacing(path) as temporary:  # noqa: PT012
        temporary.write_text("half of the n")
        raise KeyError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_exception_leaves_no_new_file(tmp_path):
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "deep" / "a.txt") as temporary:  # noqa: PT012
        temporary.unlink()  # by a saver that failed
        raise KeyboardInterrupt
    assert list((tmp_path / "deep").iterdir()) == []


def test_a_folder_in_the_way_is_an_error_that_leaves_nothing(tmp_path):
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(OSError, match=r"a\.txt"), replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_two_at_once_do_not_meet(tmp_path):
    path = tmp_path / "a.txt"
    with replacing(path) as one, replacing(path) as other:
        assert one != other
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one"  # the last to end
    assert list(tmp_path.iterdir()) == [path]


def test_text_is_utf8_in_a_folder_made_for_it(tmp_path):
    path = tmp_path / "new" / "deep" / "a.yaml"
    write_text(path, "name: wäter\n")
    assert path.read_bytes() == "name: wäter\n".encode()
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_others_may_read_it(tmp_path):
    write_text(tmp_path / "a.txt", "")
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o644


def test_the_file_is_on_the_disk_before_it_is_moved(tmp_path, monkeypatch):
    steps = []
    sync, move = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (steps.append(os.path.realpath(f"/dev/fd/{handle}")), sync(handle)))
    monkeypatch.setattr(Path, "replace", lambda self, to: (steps.append("moved"), move(self, to)))
    write_text(tmp_path / "a.txt", "new")
    assert len(steps) == 3
    assert Path(steps[0]).name.startswith(".a.txt.")
    assert steps[1:] == ["moved", str(tmp_path)]


@pytest.mark.skipif(os.name != "posix", reason="locks of open files are POSIX's")
def test_a_file_that_is_taken_for_a_leftover_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    lock, taken = files.fcntl.flock, []

    def late(handle, how):
        if not taken:
            taken.extend(tmp_path.iterdir())
            taken[0].unlink()  # by another process, which tidies the folder
        lock(handle, how)

    monkeypatch.setattr(files.fcntl, "flock", late)
    write_text(tmp_path / "a.txt", "whole")
    assert len(taken) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "whole"


def test_a_folder_that_cannot_be_opened_as_a_file_is_written_all_the_same(tmp_path, monkeypatch):
    """As on Windows."""
    whole = os.open

    def files_alone(path, *others):
        if os.path.isdir(path):
            raise PermissionError(13, "Permission denied", str(path))
        return whole(path, *others)

    monkeypatch.setattr(os, "open", files_alone)
    write_text(tmp_path / "a.txt", "whole")
    assert (tmp_path / "a.txt").read_text() == "whole"


def test_text_that_is_none(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"^\S*a\.csv is not UTF-8 text$"):
        read_text(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_bytes("\ufeffwäter".encode())
    assert read_text(tmp_path / "a.csv") == "wäter"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a: [", r"a\.yaml is not YAML: "),
        (b"[" * 100_000, r"a\.yaml is not YAML: "),
        (b"\xff", r"a\.yaml is not UTF-8 text$"),
        (b"", r"a\.yaml must hold settings, name: value; got None$"),
        (b"- a", r"a\.yaml must hold settings, name: value; got \['a'\]$"),
        (b"1: a", r"a\.yaml must hold settings, name: value; got \{1: 'a'\}$"),
    ],
    ids=repr,
)
def test_a_mapping_that_is_none(text, message, tmp_path):
    (tmp_path / "a.yaml").write_bytes(text)
    with pytest.raises(ValueError, match=message) as error:
        read_mapping(tmp_path / "a.yaml", "settings")
    assert len(str(error.value).splitlines()) == 1
    (tmp_path / "a.yaml").write_text("a: [1, 2]")
    assert read_mapping(tmp_path / "a.yaml", "settings") == {"a": [1, 2]}


# Folders ---------------------------------------------------------------------------------------------------------

WRITE = """
import sys, time
from pathlib import Path
from looksharp.files import locked, replacing
with locked(Path(sys.argv[1])), replacing(Path(sys.argv[1]) / "deep" / "a.txt") as temporary:
    temporary.write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def writing(tmp_path):
    """A process that holds a folder and has half a file written in it."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITE, tmp_path / "out"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "writing\n"
        yield process
        process.kill()


def test_a_folder_that_another_process_writes(writing, tmp_path):
    with (
        pytest.raises(ValueError, match=r"^another process is writing \S*out; wait for it, or choose"),
        locked(tmp_path / "out"),
    ):
        pass
    assert (tmp_path / "out" / ".lock").exists()


def test_death_releases_a_folder_and_what_it_left_is_removed(writing, tmp_path):
    out = tmp_path / "out"
    remove_leftovers(out)
    assert len(list((out / "deep").iterdir())) == 1  # of a process that is alive
    writing.kill()
    writing.wait()
    (out / ".hidden").touch()
    with locked(out):
        assert list((out / "deep").iterdir()) == []
        write_text(out / "a.txt", "whole")
    assert sorted(path.name for path in out.iterdir()) == [".hidden", "a.txt", "deep"]


def test_the_first_write_into_a_folder_removes_what_a_killed_process_left_there(writing, tmp_path):
    """Not only training does, which locks its folder, but every command."""
    deep = tmp_path / "out" / "deep"
    writing.kill()
    writing.wait()
    (left,) = deep.iterdir()
    write_text(tmp_path / "out" / "b.txt", "another folder")
    assert left.exists()
    write_text(deep / "b.txt", "whole")
    assert [path.name for path in deep.iterdir()] == ["b.txt"]


def test_a_process_that_wrote_a_folder_was_killed(writing, tmp_path):
    assert not was_killed(tmp_path / "out")
    writing.kill()
    writing.wait()
    assert was_killed(tmp_path / "out")
    with locked(tmp_path / "out"):
        pass
    assert not was_killed(tmp_path / "out")


def test_a_lock_that_nobody_holds_is_a_leftover(writing, tmp_path):
    lock = tmp_path / "out" / ".lock"
    remove_leftovers(tmp_path)
    assert lock.exists()
    writing.kill()
    writing.wait()
    remove_leftovers(tmp_path)
    assert not lock.exists()


def test_a_folder_for_nothing_is_removed(tmp_path):
    with pytest.raises(KeyError), locked(tmp_path / "new"):
        raise KeyError
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    with locked(tmp_path / "old"):
        pass
    assert list((tmp_path / "old").iterdir()) == []


def test_one_process_does_not_take_a_folder_twice(tmp_path):
    with locked(tmp_path), pytest.raises(ValueError, match="another process is writing"), locked(tmp_path):
        pass
