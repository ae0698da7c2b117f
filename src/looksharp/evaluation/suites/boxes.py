"""The suite "boxes": compare boxes around attention with the boxes around objects."""

from __future__ import annotations

from looksharp.evaluation.object_metrics import ObjectMetrics
from looksharp.evaluation.result import Evaluation
from looksharp.evaluation.subject import Measure, Seen, Subject
from looksharp.evaluation.suite import SUITES, Shared
from looksharp.metrics.boxes import MaxBoxAcc, MaxBoxAccV2
from looksharp.metrics.catalogue import METRICS, Metric

__all__ = ["Boxes"]


class Boxes(Measure):
    """The suite "boxes": compare boxes around the last layer's attention with the box around each object's mask.

    Values: "max_box_acc" and "max_box_acc_v2", see `MaxBoxAcc` and `MaxBoxAccV2`; by class and by size in the
    tables, see `ObjectMetrics`. Connected parts are found on the CPU, on any device: 0.1 s per object at 224 px.

    Args:
        subject: the subject to measure.
        count: number of classes.
    """

    def __init__(self, subject: Subject, count: int) -> None:
        self.metrics = ObjectMetrics(
            count, {"max_box_acc": MaxBoxAcc, "max_box_acc_v2": MaxBoxAccV2}, subject.metric_device
        )

    def update(self, seen: Seen) -> None:
        """Measure a batch."""
        objects = seen.objects
        if objects is not None:
            given = objects.maps, objects.masks
            self.metrics.update(objects, {"max_box_acc": given, "max_box_acc_v2": given})

    def compute(self) -> Evaluation:
        """Compute the result over all objects so far."""
        return self.metrics.compute()


SUITES.add(
    "boxes",
    Shared(
        "as attention, and for each object 0.1 s of a CPU at 224 px, 0.006 s at 48 px",
        Boxes,
        1.0,
        needs="masks of objects",
        place=3,
    ),
)
METRICS.add(
    "max_box_acc",
    Metric(
        "Box on the object",
        "higher",
        "How often the box around the attended region matches the object's.",
        percent=True,
    ),
)
METRICS.add(
    "max_box_acc_v2",
    Metric(
        "Box on the object, three strictnesses",
        "higher",
        "The same with the best box of each image, averaged over how well it must match.",
        percent=True,
    ),
)
