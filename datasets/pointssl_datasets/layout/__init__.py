"""Which clouds and images lie in a folder, and in which split."""
