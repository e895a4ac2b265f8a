"""From ``--data NAME`` to samples: opening datasets, torch datasets, mixtures, local datasets."""
