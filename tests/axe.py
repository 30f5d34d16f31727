"""Accessibility faults of a page, by axe-core."""

from typing import Any

from axe_playwright_python.base import AXE_SCRIPT

SERIOUS = {"serious", "critical"}
Fault = tuple[str, str]  # impact, description


def faults(page: Any, label: str, context: str | None = None, *, contrast_only: bool = False) -> list[Fault]:
    """What axe says about `page` as it stands, or about the part that the selector `context` names.

    With `contrast_only` just the rules that depend on colours run: for the second colour scheme of a page
    whose other rules were checked. The script comes in over the debugging protocol, so the page's own policy
    stays in force.
    """
    options: dict[str, Any] = {
        "resultTypes": ["violations"],
        "iframes": False,
    }  # frames belong to other sites
    if contrast_only:
        options["runOnly"] = ["color-contrast", "link-in-text-block"]
    if not page.evaluate("typeof window.axe === 'object'"):
        page.evaluate(AXE_SCRIPT)
    violations = page.evaluate(
        "([context, options]) => axe.run(context ?? document, options).then(results => results.violations)",
        [context, options],
    )
    return [
        (fault["impact"], f"{label}: {fault['impact']}: {fault['id']}: {node['html'][:160]}")
        for fault in violations
        for node in fault["nodes"]
    ]


def serious_faults(all_faults: list[Fault]) -> list[str]:
    """The descriptions of all faults when one of them is serious or critical; an empty list otherwise."""
    return (
        [description for _, description in all_faults]
        if any(impact in SERIOUS for impact, _ in all_faults)
        else []
    )
