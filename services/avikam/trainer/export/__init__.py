"""Checkpoints as workers read them, from what training leaves."""
