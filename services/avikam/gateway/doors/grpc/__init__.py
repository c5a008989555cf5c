"""gRPC: the server, the checks before every call, the public service."""
