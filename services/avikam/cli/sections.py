"""The settings class of each section, imported when asked for."""

from __future__ import annotations

from collections.abc import Mapping

from avikam.common.settings import Settings


def settings_classes() -> Mapping[str, type[Settings]]:
    """Section name to class, in the order of the configuration file."""
    from avikam.gateway.settings import GatewaySettings
    from avikam.worker.settings import WorkerSettings

    return {"gateway": GatewaySettings, "worker": WorkerSettings}
