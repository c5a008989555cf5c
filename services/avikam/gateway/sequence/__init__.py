"""One sequence through the gateway: its attempts, its journal, what a failure means."""
