"""Cloud and mesh files, one format a module."""
