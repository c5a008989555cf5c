"""How good a checkpoint is: perplexity, translation, choices, speed."""
