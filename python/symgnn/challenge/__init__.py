"""A challenge: structures to predict, splits, a strict scorer and a baseline, in one folder."""
