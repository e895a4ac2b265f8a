"""Readers and writers of cloud and mesh files, one module per format."""
