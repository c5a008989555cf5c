"""Which parts of the architecture earn their place: small models trained side by side."""
