"""What seeds, test examples and tasks say about differences; knows numbers, not trials."""
