"""What one trial does: stages, sources of models and tasks, seeding; never who runs them."""
