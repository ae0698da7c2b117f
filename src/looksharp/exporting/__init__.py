"""Trained runs as files that other programs run, with their maps."""
