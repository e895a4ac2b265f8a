"""What every other room of this package needs: sources, paths, errors, whole files."""
