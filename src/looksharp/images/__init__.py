"""Image files: found, opened, turned upright and read as RGB bytes, in one place for all of looksharp."""
