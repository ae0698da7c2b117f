"""Build wheel and sdist, and try them in empty environments with the lowest and the newest dependencies allowed."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
UV = str(BIN / "uv")
PYTHONS = ("3.11", "3.12", "3.13")
RESOLUTIONS = {"lowest-direct": "*.whl", "highest": "*.tar.gz"}
"""How dependencies are chosen -> what is installed with them: each of both files is tried."""

SMOKE = (
    "looksharp --help",
    "looksharp doctor",
    "looksharp reproduce --describe gain/table4",
    "looksharp train --data digits --digits.train 120 --digits.test 24 --backbone small --epochs 1 --out runs/plain",
    "looksharp train --data digits --digits.train 120 --digits.test 24 --backbone small --epochs 1 --objective icasc "
    "--out runs/icasc",
    "looksharp doctor runs/plain",
    "looksharp suspects runs/plain -n 4 --tested 4 --out suspects",
    "looksharp compare runs/plain runs/icasc --out compared",
)
"""Every kind of file in the wheel is read: the stub of public names, recipes, templates and styles."""
UNFETCHED = ("Failed to fetch", "Failed to download", "error sending request", "No space left on device")
PAGES = ("suspects/index.html", "compared/report.html")


def run(command: str | Sequence[str], folder: Path, path: Path = BIN) -> str:
    """Run a command as a shell finds it below `path`, and return what it printed.

    Raises:
        SystemExit: if the command fails; its last lines are printed.
    """
    words = command.split() if isinstance(command, str) else list(command)
    kept_out = ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE")  # the last makes each start slow
    environment = {name: value for name, value in os.environ.items() if name not in kept_out}
    environment |= {"PATH": f"{path}{os.pathsep}{environment['PATH']}", "UV_PYTHON_DOWNLOADS": "never"}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)} failed:\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout


def build(out: Path) -> None:
    """Build the sdist, and the wheel from it, and check both: the page a registry makes of them, and their files."""
    run([UV, "build", "--quiet", "--out-dir", str(out)], ROOT)
    files = sorted(str(file) for file in out.iterdir() if file.suffix in (".whl", ".gz"))
    print(run([sys.executable, "-m", "twine", "check", "--strict", *files], ROOT).strip())
    (wheel,) = out.glob("*.whl")
    kept = run("git ls-files src/looksharp", ROOT).split()
    missing = {name.removeprefix("src/") for name in kept} - set(zipfile.ZipFile(wheel).namelist())
    if missing:
        sys.exit(f"{wheel.name} lacks {', '.join(sorted(missing))}")
    print(f"{wheel.name} holds all {len(kept)} files of src/looksharp")


def interpreters(wanted: Sequence[str]) -> list[str]:
    """Return those of the wanted Python versions that this machine has."""
    if shutil.which("pyenv"):  # its shims start only the versions that are switched on
        os.environ["PYENV_VERSION"] = ":".join(run("pyenv versions --bare", ROOT).split())
    here = [each for each in wanted if _finds(each)]
    for each in sorted(set(wanted) - set(here)):
        print(f"Python {each} is not on this machine: not tried")
    return here


def _finds(python: str) -> bool:
    found = subprocess.run([UV, "python", "find", "--no-python-downloads", python], capture_output=True, check=False)
    return found.returncode == 0


def try_out(file: Path, python: str, resolution: str, must_fetch: bool = True) -> None:
    """Install a file into an empty environment, and use it from an empty folder.

    Packages are installed as wheels: the lowest version of a dependency is the lowest that has one for this Python.
    Where they need not be fetched and cannot be, a line says that nothing was tried.
    """
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        run([UV, "venv", "--quiet", "--python", python, "environment"], folder)
        path = folder / "environment" / "bin"
        install = [UV, "pip", "install", "--quiet", "--python", str(path / "python")]
        needs = ["--resolution", resolution, "--only-binary", ":all:", "-r", str(ROOT / "pyproject.toml")]
        try:
            run([*install, *needs], folder)  # of the file itself they would not be direct: the newest would be taken
        except SystemExit as failed:
            if must_fetch or not any(sign in str(failed) for sign in UNFETCHED):
                raise
            print(f"Python {python}, {resolution}: packages cannot be fetched here: not tried\n{failed}", flush=True)
            return
        run([*install, "--no-deps", str(file)], folder)
        installed = time.monotonic()
        version = run(["python", "-c", "import looksharp; print(looksharp.__version__)"], folder, path).strip()
        if f"-{version}" not in file.name:
            sys.exit(f"{file.name} calls itself {version}")
        for command in SMOKE:
            run(command, folder, path)
        for page in PAGES:
            if "<style" not in (folder / page).read_text(encoding="utf-8"):
                sys.exit(f"{page} has no style")
        listed = run([UV, "pip", "list", "--quiet", "--python", str(path / "python")], folder)
        chosen = dict(line.split()[:2] for line in listed.splitlines()[2:])
    packages = ", ".join(f"{name} {chosen[name]}" for name in ("torch", "torchvision", "timm", "lightning", "numpy"))
    ended = time.monotonic()
    print(
        f"Python {python}, {resolution:13}  {packages}: installed in {installed - start:.0f} s, "
        f"works in {ended - installed:.0f} s",
        flush=True,
    )


def main() -> None:
    """Build and check the release, then try it with each interpreter and each choice of dependencies."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pythons", nargs="*", default=PYTHONS, help="versions to try, where they are at hand")
    parser.add_argument("--resolutions", nargs="*", default=list(RESOLUTIONS), choices=RESOLUTIONS)
    parser.add_argument(
        "--ends",
        action="store_true",
        help="try only the oldest Python with the lowest versions and the newest with the newest; skip what cannot be "
        "fetched",
    )
    chosen = parser.parse_args()
    out = ROOT / "dist"
    for old in out.glob("looksharp-*"):
        old.unlink()
    build(out)
    pythons = interpreters(chosen.pythons)
    if not pythons:
        sys.exit("none of these Pythons is on this machine: the release was tried with none")
    tries = list(product(pythons, chosen.resolutions))
    if chosen.ends:
        tries = list(zip((pythons[0], pythons[-1]), RESOLUTIONS, strict=True))
    for python, resolution in tries:
        (file,) = out.glob(RESOLUTIONS[resolution])
        try_out(file, python, resolution, must_fetch=not chosen.ends)


if __name__ == "__main__":
    main()
