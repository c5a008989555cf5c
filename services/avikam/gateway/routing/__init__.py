"""Which worker takes a sequence: one pure function per file."""
