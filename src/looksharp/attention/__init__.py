"""Class attention maps: record by name during one forward, then attend."""
