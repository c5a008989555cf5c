"""Who may ask: keys, their file, and the check in front of every route but the probes."""
