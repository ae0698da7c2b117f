"""Formats of marks, one file each."""
