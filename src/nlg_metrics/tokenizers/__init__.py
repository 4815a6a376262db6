"""The tokenizers of the official scorers."""
