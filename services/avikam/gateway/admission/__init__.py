"""Who may start now and who waits: bounded, fair between tenants."""
