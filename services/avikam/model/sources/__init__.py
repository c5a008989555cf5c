"""Where models come from: Hugging Face folders and names, GGUF files, packages.

:func:`~avikam.model.sources.open_source.open_source` finds the kind; every kind answers as a
:class:`~avikam.model.sources.source.Source`. Opening one reads headers and small files only.
"""
