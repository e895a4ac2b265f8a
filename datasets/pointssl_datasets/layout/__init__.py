"""Layouts of datasets on disk: folders of clouds, their images, and lists of files."""
