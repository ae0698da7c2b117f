"""Run the `!` commands of tutorials: what they print, without progress bars, and a failure stops the build."""

import subprocess

from IPython import get_ipython


def run(command: str) -> None:
    """Run a line of shell and print what it wrote; a command that fails says so in an error."""
    line = get_ipython().var_expand(command)
    found = subprocess.run(line, shell=True, text=True, capture_output=True, check=False)
    print(found.stdout.rstrip())
    if found.returncode:
        raise RuntimeError(f"{command} failed: {found.stderr[-2000:]}")


get_ipython().system = run
