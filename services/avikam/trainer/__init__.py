"""Corpus, tokenizer, training, adaptation, evaluation and export of models."""
