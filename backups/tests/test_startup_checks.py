"""Warnings about the configuration of backups."""

import pytest
from structlog.testing import capture_logs

from backups import startup_checks


def logged_events():
    with capture_logs() as lines:
        startup_checks.warn_of_shared_failure_domain()
    return [line["event"] for line in lines]


@pytest.mark.parametrize(
    ("backups", "assets", "events"),
    [
        ("file:///a", "file:///b", ["backups_beside_assets"]),
        ("file:///a", "s3://b/", []),
        ("s3://a/?region=x", "s3://b/?region=y", []),
    ],
)
def test_warn_of_shared_failure_domain_logs_when_one_loss_takes_both(settings, backups, assets, events):
    settings.BACKUP_STORE_URL = backups
    settings.OBJECT_STORE_URL = assets
    settings.DEVELOPMENT = False
    settings.BACKUP_S3_REGION = ""

    assert logged_events() == events


def test_warn_of_shared_failure_domain_uses_the_region_setting(settings):
    settings.BACKUP_STORE_URL = "s3://a/?region=x"
    settings.OBJECT_STORE_URL = "s3://b/?region=y"
    settings.DEVELOPMENT = False
    settings.BACKUP_S3_REGION = "y"

    assert logged_events() == ["backups_beside_assets"]
