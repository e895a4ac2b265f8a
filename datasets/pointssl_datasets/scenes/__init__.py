"""Rooms, and the blocks that they are cut into."""
