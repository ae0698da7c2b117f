import os
import re

import pytest

from looksharp.marks.documents import read_text


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path):
    labels = tmp_path / "1.txt"
    labels.write_text("0 0.5 0.5 1 1\n")
    assert read_text(labels, "YOLO labels") == "0 0.5 0.5 1 1\n"
    os.truncate(labels, (2 << 30) + 1)  # a hole, which takes no place on the disk
    message = f"{labels} has more than 2 GiB, too much for YOLO labels; divide it"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        read_text(labels, "YOLO labels")
    labels.unlink()
