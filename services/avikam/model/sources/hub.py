"""Names on the Hugging Face hub, through ``huggingface_hub``: its cache, token and offline switch.

HF_HOME, HF_HUB_CACHE      where files are kept
HF_TOKEN                   for gated models
HF_HUB_OFFLINE=1           nothing but the cache
HF_ENDPOINT                another hub
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from avikam.model.sources.hf_folder import open_folder
from avikam.model.sources.source import Origin, Source, SourceError

# No pickle, no code, no picture is fetched.
_WANTED = (
    "config.json", "generation_config.json", "*.safetensors", "*.safetensors.index.json",
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "chat_template.jinja",
    "chat_template.json", "README.md",
)  # fmt: skip
_UNWANTED = ("*/*",)  # what lies in folders is another format


def open_hub(text: str) -> Source:
    """``org/name`` at its main branch, or ``org/name@revision``."""
    name, _, revision = text.partition("@")
    folder = Path(_fetched(name, revision or None))
    # The cache names a snapshot's folder by its commit.
    where = Origin("hub", name, folder.name)
    return open_folder(folder, name.rpartition("/")[2], where)


def _fetched(name: str, revision: str | None) -> str:
    try:
        import huggingface_hub
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ModuleNotFoundError:
        raise SourceError("huggingface_hub is not installed: pip install 'avikam[hub]'") from None
    download: Any = huggingface_hub.snapshot_download
    try:
        return str(
            download(
                name,
                revision=revision,
                allow_patterns=list(_WANTED),
                ignore_patterns=list(_UNWANTED),
            )
        )
    except LocalEntryNotFoundError as error:
        raise SourceError(f"{name} is not in the cache, and the hub is out of reach") from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise SourceError(f"{name} cannot be fetched: {reason}") from error
