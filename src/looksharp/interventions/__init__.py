"""Proof by intervention: what a classifier answers once an object's surroundings are exchanged or gone."""

from looksharp.interventions.examples import Example, example_pictures
from looksharp.interventions.exchanged import exchanged_split
from looksharp.interventions.measuring import INTERVENTIONS, Interventions, intervene

__all__ = ["INTERVENTIONS", "Example", "Interventions", "example_pictures", "exchanged_split", "intervene"]
