"""The suite "faithfulness": test whether the prediction depends on the region of the predicted class's map."""

from __future__ import annotations

from looksharp.evaluation.result import Evaluation
from looksharp.evaluation.subject import Columns, Measure, Seen, Subject
from looksharp.evaluation.suite import SUITES, Shared
from looksharp.metrics.catalogue import METRICS, Metric
from looksharp.metrics.faithfulness.measures import FORWARDS, faithfulness

__all__ = ["Faithfulness"]


class Faithfulness(Measure):
    """Measure how the predicted class's probability follows changes of the image in the order of its map.

    Values, means over images, and values of every image: "insertion", "deletion", "average_drop" and
    "confidence_increase" (shares of 1, not of 100) and "road" (`RoadCurves.combined`); see the functions of these
    names. They use the last layer's map, and are NaN where it is zero or the same everywhere.

    Args:
        subject: the subject to measure; its network must be in evaluation mode.
        count: number of classes.
    """

    def __init__(self, subject: Subject, count: int) -> None:
        self.multilabel = subject.split.targets.ndim == 2
        self.batch_size, self.columns = subject.batch_size, Columns()

    def update(self, seen: Seen) -> None:
        """Measure a batch."""
        model, images = seen.forward.model, seen.forward.batch.image
        predicted = seen.logits.argmax(1)
        # Always among the classes whose maps are made: it is a true one, or the wrong one that scores highest.
        place = (seen.confused[0] == predicted.unsqueeze(1)).int().argmax(1)
        maps = seen.maps[1][range(len(place)), place].to(images.device)
        given = model, images, maps, predicted.to(images.device)
        self.columns.add(faithfulness(*given, multilabel=self.multilabel, batch_size=self.batch_size))

    def compute(self) -> Evaluation:
        """Compute the result over all batches so far."""
        per_image = self.columns.joined()
        values = {name: float(column.double().nanmean()) for name, column in per_image.items()}
        return Evaluation(values, per_image)


SUITES.add("faithfulness", Shared(f"{FORWARDS} forwards", Faithfulness, FORWARDS, place=4))
METRICS.add(
    "insertion",
    Metric(
        "Insertion", "higher", "How soon the class is recognised as the most attended pixels are put in.", percent=True
    ),
)
METRICS.add(
    "deletion",
    Metric(
        "Deletion", "lower", "How long the class is recognised as the most attended pixels are taken out.", percent=True
    ),
)
METRICS.add(
    "average_drop",
    Metric(
        "Average drop", "lower", "How much of the class's probability is lost with what is not attended.", percent=True
    ),
)
METRICS.add(
    "confidence_increase",
    Metric("Increase in confidence", "higher", "How often what is attended alone is more convincing.", percent=True),
)
METRICS.add(
    "road",
    Metric(
        "ROAD", "higher", "How much more the class suffers from losing what is attended most than least.", percent=True
    ),
)
