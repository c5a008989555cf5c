"""Conversations as each API writes them down, as turns that the model knows."""
