"""The REST API: one file per dialect, each turns its JSON into a generation and back."""
