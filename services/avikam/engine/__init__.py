"""Sequences, scheduler, slots, caches and sampler: from token ids to token ids."""
