"""The alert rules for Prometheus: they are valid, fire when they should, and match our metrics and docs."""

import itertools
import re
import shutil
import subprocess

import httpx
import pytest
import yaml
from django.conf import settings
from prometheus_client import REGISTRY

from core.jobs import queue

FOLDER = settings.BASE_DIR / "deploy" / "prometheus"
RUNBOOK = "docs/runbook.md"
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not installed (apt-get install prometheus)"
)


def read_rules():
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def read_expectations():
    """Return for each alert the lists of samples that its tests expect, one for each moment."""
    expectations = {}
    for path in FOLDER.glob("*_test.yml"):
        for test in yaml.safe_load(path.read_text())["tests"]:
            for check in test["promql_expr_test"]:
                (alert,) = re.findall(r'alertname="(\w+)"', check["expr"])
                expectations.setdefault(alert, []).append(check["exp_samples"])
    return expectations


def run_promtool(*arguments):
    return subprocess.Popen(
        [PROMTOOL, *arguments], cwd=FOLDER, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@needs_promtool
def test_promtool_accepts_the_rules_and_every_test_of_them_passes():
    test_files = sorted(path.name for path in FOLDER.glob("*_test.yml"))

    processes = [
        run_promtool("check", "rules", "alerts.yml"),
        *(run_promtool("test", "rules", name) for name in test_files),
    ]

    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 3, "\n".join(outputs)


def test_every_rule_has_a_test_that_fires_it_and_one_that_does_not():
    expectations = read_expectations()

    fired = {alert for alert, results in expectations.items() if any(results)}
    not_fired = {alert for alert, results in expectations.items() if not all(results)}
    assert fired == not_fired == set(read_rules())


def test_every_label_in_an_annotation_is_a_label_of_the_alert():
    expectations = read_expectations()
    for alert, rule in read_rules().items():
        used = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
        for sample in itertools.chain(*expectations[alert]):
            assert used <= set(re.findall(r'(\w+)="', sample["labels"])), alert


def test_every_rule_has_a_severity_and_a_section_of_the_runbook():
    headings = re.findall(r"^## (.+)$", (settings.BASE_DIR / RUNBOOK).read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    rules = read_rules().values()

    linked = {rule["annotations"]["runbook_url"] for rule in rules}

    assert linked == {f"{RUNBOOK}#{anchor}" for anchor in anchors - {"how-to-use-this-page"}}
    assert {rule["labels"]["severity"] for rule in rules} == {"page", "ticket"}
    assert {tuple(rule["annotations"]) for rule in rules} == {("summary", "description", "runbook_url")}


def read_metric_names(stack):
    """Return the names of the metrics that a web process exposes or has declared."""
    text = httpx.get(f"http://127.0.0.1:{stack.webs[0].internal_port}/metrics").text
    exposed = set(re.findall(r"^# TYPE (getyousite_\S+)", text, re.MULTILINE))
    # A labelled counter is exposed from its first count on, so that declared ones count as well.
    families = [family for family in REGISTRY.collect() if family.name.startswith("getyousite_")]
    return exposed | {
        f"{family.name}_total" if family.type == "counter" else family.name for family in families
    }


@pytest.mark.stack
def test_every_metric_in_a_rule_is_one_that_a_web_process_exposes(stack):
    expressions = "".join(rule["expr"] for rule in read_rules().values())
    used = {re.sub(r"_(bucket|count)$", "", name) for name in re.findall(r"getyousite_\w+", expressions)}

    assert used - read_metric_names(stack) == set()


@pytest.mark.stack
def test_the_table_in_the_docs_names_exactly_the_metrics_of_a_web_process(stack):
    table = (settings.BASE_DIR / "docs" / "running.md").read_text().partition("| metric `getyousite_...`")[2]
    first_cells = re.findall(r"^\| (`.+?) \|", table.partition("\n\n")[0], re.MULTILINE)
    documented = {f"getyousite_{name}" for name in re.findall(r"`(\w+)", " ".join(first_cells))}

    assert documented == read_metric_names(stack)


def test_the_kinds_of_jobs_in_a_rule_exist():
    expressions = "".join(rule["expr"] for rule in read_rules().values())
    kinds = {name for names in re.findall(r'\bkind[!=]~"([\w|]+)"', expressions) for name in names.split("|")}

    assert kinds
    assert kinds <= {kind.__name__ for kind in queue.job_models()}
