"""Settings of earlier versions."""

from __future__ import annotations

__all__ = ["FORMER"]

FORMER = {
    "guidance": "it is now marks",
    "guided": "it is now marked",
    "guided_classes": "it is now marked_classes",
    "guided_per_batch": "it is now marked_per_batch",
    "guidance_boxes": "it is now mark_boxes",
    "guidance_loss": "what is asked of marks is a part of the objective: classification+agreement:0.3",
    "branch_weight": "it is now the weight of the part branch",
    "diversity_weight": "it is now the weight of the part head_diversity",
}
"""Setting of an earlier version -> what replaces it, in words."""
