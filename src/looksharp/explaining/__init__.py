"""Pictures and numbers of where a network looks, for images of one's own."""
