"""The ruler: rank attention mechanisms on a network of one's own."""
