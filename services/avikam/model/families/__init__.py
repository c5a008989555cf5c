"""Model families: from a source's configuration and tensor names to ours, exactly or not at all.

One file per family says what its numbers mean; whatever a file does not know is refused by name.
:mod:`registry` finds the family of a source.
"""
