"""Fine-tunes or probes one model on one task."""
