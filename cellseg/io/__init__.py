"""Images in, results out, and files that are complete or absent."""
