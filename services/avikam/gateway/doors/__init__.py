"""Where requests come in; what is here serves every door."""
