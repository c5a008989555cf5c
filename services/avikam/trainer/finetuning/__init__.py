"""Adapters: low-rank training on conversations."""
