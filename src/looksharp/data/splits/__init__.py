"""How the images of a split are kept: in memory, in files, in shards."""
