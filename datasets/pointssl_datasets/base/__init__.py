"""What every dataset needs: sources, the torch dataset, mixtures, paths, errors."""
