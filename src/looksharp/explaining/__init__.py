"""Pictures and numbers of where a network looks, for your own images."""
