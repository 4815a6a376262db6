"""Runs on the Hugging Face hub: the model card a run writes about itself, and the upload."""
