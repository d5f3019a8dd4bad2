"""A finished trial as a folder that transformers loads, with its model card."""
