"""Choosing points of a cloud, and their normals."""
