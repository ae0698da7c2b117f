import pytest

from looksharp.marks.reading import read_marks


@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("_annotations.csv", "a TensorFlow CSV"),
        ("train/_annotations.csv", "a TensorFlow CSV"),
        ("_annotations.createml.json", "CreateML"),
        ("valid/_annotations.jsonl", "JSONL"),
        ("_annotations.txt", "YOLO's old list of Keras"),
        ("train/_classes.csv", "a list of classes or masks of class indices"),
    ],
)
def test_an_export_that_is_not_read_is_named_with_the_way_out(tmp_path, name, called):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("filename,width,height,class,xmin,ymin,xmax,ymax\n")
    for path in (tmp_path, tmp_path / name):
        with pytest.raises(
            ValueError, match=f"is Roboflow's export as {called}, which is not read; export the project"
        ):
            read_marks(path, {"1.png": (6, 8)}, ["dog"])
