"""Inspection of encoders: cost, feature statistics, attention, similarity of layers."""
