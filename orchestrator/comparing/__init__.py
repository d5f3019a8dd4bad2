"""From results to tables: which config is better."""
