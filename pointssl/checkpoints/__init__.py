"""Checkpoint files: what they hold, how they are written, and whose weights they are."""
