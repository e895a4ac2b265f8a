"""Features of clouds: the encoder under evaluation, extraction, cache, pooling."""
