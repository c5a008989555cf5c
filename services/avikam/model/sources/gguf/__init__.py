"""GGUF files: a bounded reader of headers, block formats, and names turned into Hugging Face's."""
