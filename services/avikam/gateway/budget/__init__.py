"""What one request may cost: looked at, and paid for, before it is built."""
