"""Conversations made from sentence pairs: what people really write to a translating assistant.

A corpus of pairs teaches one request and one answer. People greet first, ask again, correct
themselves, type without accents, and ask for what the model cannot do. Each file here makes one of
these out of pairs and of the phrases in ``phrases/``; :mod:`.sources` gives them to pretraining,
:mod:`.writing` writes them to a file.
"""
