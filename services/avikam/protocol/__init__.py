"""What services agree on: requests, the one validator, errors, limits."""
