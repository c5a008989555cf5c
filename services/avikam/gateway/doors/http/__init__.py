"""HTTP without the API: the server, guard, bodies, errors, event streams, offline docs."""
