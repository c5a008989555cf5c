"""Text to ids and back for every model: what a tokenizer answers, and two that do.

:class:`avikam.model.tokenizer.Tokenizer` is Avikam1's own SentencePiece;
:class:`~avikam.model.vocabulary.hugging_face.HfTokenizer` reads a ``tokenizer.json``.
"""
