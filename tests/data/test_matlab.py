import io

import numpy as np
import pytest
from scipy.io import savemat

from looksharp.data.matlab import read_mat


def test_variables_are_read(tmp_path):
    path = tmp_path / "a.mat"
    savemat(path, {"x": np.arange(3), "names": np.array(["a", "bc"], dtype=object)[:, None], "z": 1})
    x, names = read_mat(path, ["x", "names"])
    assert x.tolist() == [0, 1, 2]
    assert names.tolist() == ["a", "bc"]
    (again,) = read_mat(tmp_path / "archive" / "a.mat", ["x"], io.BytesIO(path.read_bytes()))
    assert again.tolist() == [0, 1, 2]


def test_broken_files_are_named(tmp_path):
    path = tmp_path / "a.mat"
    with pytest.raises(ValueError, match=r"^.*/a\.mat does not exist$"):
        read_mat(path, ["x"])
    savemat(path, {"x": np.arange(3000)}, do_compression=True)
    with pytest.raises(ValueError, match=r"^.*/a\.mat must have the variable 'y'$"):
        read_mat(path, ["x", "y"])
    whole = path.read_bytes()
    for content in (b"", b"<html>Not found</html>", whole[:50], whole[:200], whole[:-9], b"MATLAB 7.3 MAT-file" * 20):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"^.*/a\.mat cannot be read as a MATLAB file: [^\n]+$"):
            read_mat(path, ["x"])
