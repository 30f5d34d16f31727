"""Accessibility violations of a page, found by axe-core."""

from typing import Any

from axe_playwright_python.base import AXE_SCRIPT

SERIOUS_IMPACTS = {"serious", "critical"}
Violation = tuple[str, str]  # impact, description


def find_violations(
    page: Any, label: str, context: str | None = None, *, contrast_only: bool = False
) -> list[Violation]:
    """Run axe on `page` in its current state, or on the part that the selector `context` names.

    With `contrast_only`, only the rules that depend on colours run. Use it for the second colour scheme of a
    page whose other rules were checked already. The script is injected over the debugging protocol, so the
    Content-Security-Policy of the page stays in force.
    """
    options: dict[str, Any] = {
        "resultTypes": ["violations"],
        "iframes": False,  # frames belong to other sites
    }
    if contrast_only:
        options["runOnly"] = ["color-contrast", "link-in-text-block"]
    if not page.evaluate("typeof window.axe === 'object'"):
        page.evaluate(AXE_SCRIPT)
    violations = page.evaluate(
        "([context, options]) => axe.run(context ?? document, options).then(results => results.violations)",
        [context, options],
    )
    return [
        (violation["impact"], f"{label}: {violation['impact']}: {violation['id']}: {node['html'][:160]}")
        for violation in violations
        for node in violation["nodes"]
    ]


def violations_if_serious(violations: list[Violation]) -> list[str]:
    """Descriptions of all violations when one of them is serious or critical; otherwise an empty list."""
    if any(impact in SERIOUS_IMPACTS for impact, _ in violations):
        return [description for _, description in violations]
    return []
