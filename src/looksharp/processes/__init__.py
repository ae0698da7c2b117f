"""Work divided among several processes: this one's share of it, and what all of them found."""
