"""Attention over fixed slots: one small state per sequence, whatever its length."""
