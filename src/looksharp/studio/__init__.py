"""The studio: find, mark, retrain and prove in one local page.

Modules here are imported before torch is: those that need it import it within functions, so that the page is there
while it loads.
"""
