"""What an account may use: requests and tokens per minute, and requests at once."""
