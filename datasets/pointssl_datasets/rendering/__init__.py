"""Renders clouds and meshes without a graphics card."""
