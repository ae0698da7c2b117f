"""A format of marks in a file outside the package: registered, and held to what every format promises."""

from pathlib import Path

CONTRACT = Path(__file__).parents[1] / "marks" / "formats" / "test_contract.py"

SOURCE = '''
from looksharp.marks.documents import read_text
from looksharp.marks.image_index import ImageIndex
from looksharp.marks.mark_format import MARK_FORMATS, MarkFormat
from looksharp.marks.place import Place


@MARK_FORMATS.register("plain_boxes")
class PlainBoxes(MarkFormat):
    """Lines of image, class, left, top, right and bottom, parted by tabs."""

    takes = "a .boxes file"

    def matches(self, path):
        return path.is_file() and path.suffix == ".boxes"

    def read(self, path, union):
        index = ImageIndex(union.images)
        for number, line in enumerate(read_text(path, "plain boxes").splitlines(), 1):
            where = f"{path}: line {number}"
            try:
                name, label, *numbers = line.split("\\t")
                height, width, left, top, right, bottom = map(float, numbers)
            except ValueError:
                raise ValueError(f"{where} must have an image, a class and six numbers; write them") from None
            image = index.find_any(name, where)
            if image is None:
                union.skip("image not in the data", where)
            elif union.knows(label, where):
                union.check_size(image, (height, width), where)
                Place(union, image, label, where).add_box(left, top, right, bottom)


def write(folder, size, label, box):
    path = folder / "pets.boxes"
    path.write_text("\\t".join(map(str, ["train/dog/1.png", label, *size, *box])))
    return path


WRITERS = {"box": write}
'''


def test_a_format_outside_the_package(plugin):
    run = plugin(SOURCE)
    names = run("-c", "from looksharp.marks.mark_format import MARK_FORMATS; print(*MARK_FORMATS)").split()
    assert "plain_boxes" in names
    assert "coco" in names
    told = run("-m", "pytest", "-p", "no:cacheprovider", "-rA", str(CONTRACT), "-k", "plain_boxes")
    assert "test_the_right_pixels[plain_boxes-box]" in told
    assert "10 passed" in told


def test_the_help_of_train_names_it(plugin):
    told = plugin(SOURCE)("-m", "looksharp", "train", "--help")
    assert "plain_boxes" in told
    assert "label_studio" in told


def test_an_error_about_marks_names_it(plugin):
    run = plugin(SOURCE)
    code = (
        "from looksharp.marks.reading import read_marks\n"
        "try: read_marks('no.json', {}, [])\n"
        "except ValueError as error: print(error)"
    )
    assert ", a .boxes file, " in run("-c", code)
