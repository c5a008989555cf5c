"""HTTP without the API: guard, bodies, errors, event streams, offline docs."""
