"""A trained network at work on the user's own files."""
