"""Proof by intervention: a classifier's answers once an object's surroundings are exchanged or gone."""
