"""The model card of an imported model: what it is, from where, under which licence."""

from __future__ import annotations

from avikam.model.imports.plan import ImportPlan


def card_of(plan: ImportPlan, weights: str) -> str:
    """Markdown; what no file told stands there as unknown."""
    config, origin = plan.config, plan.source.origin
    rows = {
        "Source": f"{origin.kind}: {origin.location}",
        "Revision": origin.revision or "unknown",
        "Licence": origin.licence or "unknown; ask whoever published the model",
        "Quantised at the source": origin.quantisation or "no",
        "Stored here as": weights,
        "Architecture": plan.source.config["architectures"][0],
        "Parameters": f"{config.parameter_count():,}",
        "Longest context": f"{config.max_positions:,} tokens",
        "Chat template": "the source's own" if plan.words.chat_template else "none",
        "End tokens": ", ".join(map(str, plan.words.end_ids)),
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"# {config.name}\n\nImported by `avikam model import`.\n\n| | |\n|---|---|\n{table}\n"
