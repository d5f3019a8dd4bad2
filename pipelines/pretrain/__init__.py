"""Pre-training small models from scratch: tokenizer, architecture, objective, corpus."""
