"""Experiments: variants trained over seeds, kept as run folders, measured into one table, and compared."""
