"""What every dataset needs: clouds and sources, catalogue entries, paths, skip lists, errors."""
