"""Run folders: configuration, environment, metrics, results."""
