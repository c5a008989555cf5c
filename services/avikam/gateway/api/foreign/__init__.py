"""Fields of other servers: which of them are refused, which change nothing."""
