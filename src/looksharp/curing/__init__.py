"""Cure a classifier of a shortcut with a few marked images, and prove by intervention that the cue is gone."""
