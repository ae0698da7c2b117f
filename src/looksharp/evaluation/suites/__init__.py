"""Suites of measurements, one a file; each registers itself."""
