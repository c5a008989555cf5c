"""What gateways share through Redis, and how they go on without it."""
