"""Panels, overlays, charts, contact sheets and the parts of pages."""
