"""Proof by intervention: what a classifier answers once an object's surroundings are exchanged or gone."""
