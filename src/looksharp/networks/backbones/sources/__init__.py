"""Sources of networks, a file each."""
