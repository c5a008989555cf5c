"""Who may call: API keys, scopes, tenants and rate limits."""
