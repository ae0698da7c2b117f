"""Masks and boxes that people drew: read, kept and joined."""
