"""Splits whose images are kept in memory, in files or in shards."""
