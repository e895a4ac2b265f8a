"""From ``--data NAME`` to clouds that are served: opening, torch datasets, mixtures, finding."""
