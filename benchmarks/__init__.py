"""Measurements against the peers: same weights, same dtype, same threads, alternating in one run."""
