"""Measures a server from outside, as its clients do; works with any OpenAI-compatible one."""
