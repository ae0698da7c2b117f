"""A metric that another package registers where it measures it."""

SOURCE = """
import torch

from looksharp.evaluation.result import Evaluation
from looksharp.evaluation.suite import SUITES, Separate
from looksharp.metrics.catalogue import METRICS, Metric

METRICS.add("brightness", Metric("Mean brightness", "higher", "How bright images are.", percent=True, place=2.5))


def measure(subject, advance):
    found = torch.cat([subject.pixels.denormalize(batch.image).mean((1, 2, 3)) for batch in subject.batches()])
    return Evaluation({"brightness": float(found.mean())}, {"brightness": found})


SUITES.add("brightness", Separate("no forward", measure, 0.0))
"""

CODE = """
from looksharp.data.sets.synthetic import digits
from looksharp.drawing.tables import column_cells
from looksharp.evaluation import evaluate
from looksharp.metrics.catalogue import curve_title, find_metric
from looksharp.networks import SmallNet
print(find_metric("brightness").label, "|", curve_title("val_brightness")[0])
print([(cell.text, cell.best, cell.difference) for cell in column_cells([0.25, 0.5], find_metric("brightness"))])
data = digits(train=1, val=1, test=8)
found = evaluate(SmallNet(10).eval(), data.splits["test"], data.pixels, suites=["brightness", "classification"])
print(list(found.values)[:3])
"""


def test_another_package_adds_a_metric(plugin):
    assert plugin(SOURCE)("-c", CODE).splitlines() == [
        "Mean brightness | Mean brightness, validation",
        "[('25.0%', False, ''), ('50.0%', True, '+25.0')]",
        "['top1', 'top5', 'brightness']",  # where its place is
    ]
