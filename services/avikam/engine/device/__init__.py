"""Steps on an accelerator: launched one ahead of what the host has read."""
