"""What is known of pre-trained models: their files, their parts, their inputs; no tasks."""
