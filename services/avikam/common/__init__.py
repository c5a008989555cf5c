"""What every service shares and no client sees: settings, logs, traces, certificates."""
