"""The official scorers: which metrics, over which tokens, and the files they read."""
