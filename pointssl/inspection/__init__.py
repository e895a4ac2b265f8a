"""What happens inside an encoder: cost, statistics, attention, similarity of layers."""
