"""Image files and what their headers say."""
