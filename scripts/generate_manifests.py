"""Render the chart into deploy/k8s; with --check, fail when the two have drifted apart.

base/                  what every profile shares
overlays/PROFILE/      the base, and what is this profile's own
components/monitoring  scrapes, alerts and dashboards, for a cluster with the Prometheus operator
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "helm" / "avikam"
MANIFESTS = ROOT / "deploy" / "k8s"
# Keys are the user's own secret: a rendered file must hold none.
VALUES = (
    "auth.existingSecret=avikam-keys",
    "mtls.mode=none",
    "workerToken.existingSecret=avikam-worker-token",
    "monitoring.serviceMonitor=true",
    "monitoring.podMonitor=true",
    "monitoring.prometheusRule=true",
)
# Lines that are true of a Helm release only.
HELM_LINES = re.compile(r"^ *(app\.kubernetes\.io/managed-by|helm\.sh/chart): .*\n", re.MULTILINE)
HEADER = (
    "# Rendered from helm/avikam by scripts/generate_manifests.py: change the chart, not this.\n"
)

NAMESPACE = """apiVersion: v1
kind: Namespace
metadata:
  name: avikam
  labels:
    pod-security.kubernetes.io/enforce: restricted
"""

Documents = dict[str, str]


def profiles() -> list[str]:
    """Names of the chart's profiles."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    return list(values["profiles"])


def render(profile: str) -> Documents:
    """File name and text of every resource of a profile."""
    tools = f"{ROOT / 'build' / 'tools'}{os.pathsep}{os.environ['PATH']}"
    helm = shutil.which("helm", path=tools)
    if helm is None:
        raise SystemExit("helm is missing: run `make chart-tools`")
    settings = [part for value in (f"profile={profile}", *VALUES) for part in ("--set", value)]
    text = subprocess.run(
        [helm, "template", "avikam", CHART, "--namespace", "avikam", "--skip-tests", *settings],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    documents = (document.strip("\n") + "\n" for document in re.split(r"^---$", text, flags=re.M))
    resources = (d for d in documents if d.strip() and _component(d) != "test")
    return {_file_name(resource): _plain(resource) for resource in resources}


def _file_name(document: str) -> str:
    resource = yaml.safe_load(document)
    name = resource["metadata"]["name"].removeprefix("avikam-")
    return f"{name}-{resource['kind'].lower()}.yaml"


def _plain(document: str) -> str:
    """Without what only Helm says."""
    lines = [line.rstrip() for line in document.splitlines() if not line.startswith("# Source:")]
    return HEADER + HELM_LINES.sub("", "\n".join(lines) + "\n")


def manifests() -> Documents:
    """Path below deploy/k8s and text of every file."""
    rendered = {profile: render(profile) for profile in profiles()}
    monitoring = {n: t for n, t in rendered["cpu"].items() if _component(t) == "monitoring"}
    rendered = {
        profile: {name: text for name, text in documents.items() if name not in monitoring}
        for profile, documents in rendered.items()
    }
    base = _shared(rendered.values())
    files = _folder("base", {"namespace.yaml": HEADER + NAMESPACE, **base})
    files |= _folder("components/monitoring", monitoring, kind="Component")
    for profile, documents in rendered.items():
        own = {name: text for name, text in documents.items() if name not in base}
        files |= _folder(f"overlays/{profile}", own, parents=("../../base",))
    return files


def _component(document: str) -> str:
    labels = yaml.safe_load(document)["metadata"]["labels"]
    return str(labels["app.kubernetes.io/component"])


def _shared(rendered: Iterable[Mapping[str, str]]) -> Documents:
    """The documents that are the same everywhere."""
    first, *others = rendered
    return {n: t for n, t in first.items() if all(other.get(n) == t for other in others)}


def _folder(
    folder: str, documents: Documents, kind: str = "Kustomization", parents: tuple[str, ...] = ()
) -> Documents:
    """The documents' files and their kustomization.yaml."""
    version = "v1alpha1" if kind == "Component" else "v1beta1"
    kustomization = yaml.safe_dump(
        {
            "apiVersion": f"kustomize.config.k8s.io/{version}",
            "kind": kind,
            "namespace": "avikam",
            "resources": [*parents, *sorted(documents)],
        },
        sort_keys=False,
    )
    files = {f"{folder}/{name}": text for name, text in documents.items()}
    return files | {f"{folder}/kustomization.yaml": HEADER + kustomization}


def differences(fresh: Documents, kept: Path = MANIFESTS) -> list[str]:
    """Paths that are missing, too many or otherwise under ``kept``."""
    present = {str(p.relative_to(kept)): p.read_text() for p in kept.rglob("*.yaml")}
    return sorted(n for n in fresh.keys() | present.keys() if fresh.get(n) != present.get(n))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, report drift")
    check = parser.parse_args().check
    fresh = manifests()
    drifted = differences(fresh)
    for name in drifted:
        if check:
            print(f"deploy/k8s/{name} differs from the chart: run `make manifests`")
        else:
            _write(MANIFESTS / name, fresh.get(name))
    return 1 if check and drifted else 0


def _write(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


if __name__ == "__main__":
    sys.exit(main())
