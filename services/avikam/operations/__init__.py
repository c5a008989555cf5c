"""What operators do around a running cluster: judge it, record it, back it up."""
