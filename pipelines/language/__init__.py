"""Learning from unlabelled text: blocks of tokens, what is hidden in them; knows no pipeline."""
