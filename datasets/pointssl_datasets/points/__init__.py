"""Choosing points of a cloud, and estimating normals."""
