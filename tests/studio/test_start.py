"""The page is there before the libraries behind it."""

import subprocess
import sys

from looksharp import cli


def test_the_pages_are_known_without_torch():
    code = (
        "import sys; from looksharp.studio.page import pages; import looksharp.studio.layout\n"
        "print(*pages()); assert not {'torch', 'lightning', 'sklearn', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "look"


def test_what_is_no_run_is_refused_at_once(tmp_path, capsys):
    (tmp_path / "config.yaml").write_text('data: ""\n')
    assert cli.main(["studio", str(tmp_path), "--no_browser"]) == 2
    assert capsys.readouterr().err == f"looksharp: error: {tmp_path} is not a run folder: it has no run.json\n"
    (tmp_path / "run.json").write_text("{}")
    assert cli.main(["studio", str(tmp_path), "--no_browser"]) == 2
    assert "name a set or folder by --data" in capsys.readouterr().err
    assert cli.main(["studio", str(tmp_path), "--port", "99999"]) == 2
    assert "port must be" in capsys.readouterr().err
