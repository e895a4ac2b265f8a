"""Rooms, and the blocks they are cut into."""
