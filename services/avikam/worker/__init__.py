"""A gRPC server around one engine: health, drain, adapters, status."""
