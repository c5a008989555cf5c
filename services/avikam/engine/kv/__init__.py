"""Prefix reuse: what was computed once for a prefix is copied, not computed again.

    submit ──► Redis ─(while it queues, off the loop)─► host memory ──► slot     a hit spares tokens
    slot ──(every 256 prompt tokens, end of a turn)──► host memory ──(writer thread)──► Redis

Nothing here is needed for correctness: what is missing, late or damaged is computed again.
"""
