"""Pictures of where networks look, and a page that holds trainings side by side."""

from looksharp.report.charts import bars, curves, run_colors
from looksharp.report.figures import attention_grid
from looksharp.report.overlay import draw_outline, overlay, picture
from looksharp.report.page import write_report, write_results
from looksharp.report.panel import Panel
from looksharp.report.results import Results, RunResult, Sample

__all__ = [
    "Panel",
    "Results",
    "RunResult",
    "Sample",
    "attention_grid",
    "bars",
    "curves",
    "draw_outline",
    "overlay",
    "picture",
    "run_colors",
    "write_report",
    "write_results",
]
