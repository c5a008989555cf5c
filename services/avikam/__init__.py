"""Avikam serves Avikam1, a bilingual French/English language model."""

__version__ = "0.1.0"
