"""A package of somebody else's, installed for one test: a module and the entry point that names it."""

import os
import subprocess
import sys

import pytest


@pytest.fixture
def plugin(tmp_path):
    """Installs a module beside looksharp; returns a function that runs Python with it and gives what was printed."""

    def install(source):
        site = tmp_path / "site"
        facts = site / "someone-1.0.dist-info"
        facts.mkdir(parents=True)
        (site / "someone.py").write_text(source)
        (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: someone\nVersion: 1.0\n")
        (facts / "entry_points.txt").write_text("[looksharp.plugins]\nsomeone = someone\n")
        paths = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)

        def run(*arguments):
            done = subprocess.run(
                [sys.executable, *arguments],
                check=False,
                capture_output=True,
                text=True,
                env=os.environ | {"PYTHONPATH": paths},
                timeout=300,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        return run

    return install
