"""Requests that may be sent twice: one ``Idempotency-Key``, one answer."""
