"""From a task to the inputs of a model: read, split, tokenise; nothing is trained here."""
