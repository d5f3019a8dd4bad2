"""What to run, in which order, and what happened."""
