"""A logger from another package."""

import re
from pathlib import Path

CONTRACT = Path(__file__).parents[1] / "training" / "test_loggers.py"
SOURCE = """
from looksharp.training.loggers import LOGGERS, RunLogger


@LOGGERS.register("quiet")
class Quiet(RunLogger):
    def __init__(self, out, step):
        from lightning.pytorch.loggers.logger import DummyLogger

        self.logger = DummyLogger()

    def picture(self, path, epoch, step):
        assert path.is_file()

    def close(self):
        pass
"""


def test_another_package_adds_a_logger(plugin):
    python = plugin(SOURCE)
    told = " ".join(python("-m", "looksharp", "train", "--help").split())
    assert re.search(r"--logger \{[^}]*quiet", told)
    report = python("-m", "pytest", "-p", "no:cacheprovider", "-v", str(CONTRACT), "-k", "quiet")
    assert re.search("[1-9][0-9]* passed", report)
