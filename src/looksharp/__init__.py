"""Train image classifiers that look at the right place, and show, measure and correct where they look."""
