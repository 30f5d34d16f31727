"""Imports of the daily sums that Plausible exports."""

from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from django.utils import timezone

from analytics.reports import query, rollups
from analytics.tests.helpers import (
    IMPORT_DAY,
    import_week_query,
    import_week_summary,
    log_line,
    minutes_from_march,
    plausible_export,
    plausible_visitors,
    run_import,
    write_visits,
)

pytestmark = pytest.mark.django_db


def plausible_export_of_two_days(tmp_path):
    first, second = (f"{IMPORT_DAY.date() + timedelta(days=number)}" for number in range(2))
    return plausible_export(
        tmp_path,
        visitors=(
            '"date","visitors","pageviews","bounces","visits","visit_duration"\n'
            f"{first},10,30,4,12,600\n"
            f"{second},5,8,2,6,90\n"
        ),
        pages=(
            "date,hostname,page,visits,visitors,pageviews,total_time_on_page\n"
            f"{first},x,/,12,10,20,100\n"
            f"{first},x,/menu/,6,5,10,50\n"
            f"{second},x,/,6,5,8,9\n"
        ),
        sources=(
            "date,source,utm_medium,visitors,visits,visit_duration,bounces\n"
            f"{first},Google,,6,7,300,2\n"
            f"{first},,mail,4,5,300,2\n"
        ),
        locations=(
            "date,country,region,city,visitors,visits,visit_duration,bounces\n"
            f"{first},DE,DE-BE,2950159,10,12,600,4\n"
        ),
        custom_events=f"date,name,link_url,path,visitors,events\n{first},Order,,/,3,4\n",
    )


def test_analytics_import_of_plausible_stores_the_sums_of_days(site, tmp_path):
    path = plausible_export_of_two_days(tmp_path)

    for _ in range(2):
        assert run_import(site, path, "plausible") == {
            "days of totals imported": 2,
            "days left out: they already have events": 0,
        }
        metrics = import_week_summary(site)
        assert (metrics["visitors"], metrics["visits"], metrics["pageviews"], metrics["visit_duration"]) == (
            15,
            18,
            38,
            38,
        )
    with transaction.atomic():
        pages, _ = query.breakdown(import_week_query(site), "page", limit=5)
        sources, _ = query.breakdown(import_week_query(site), "source", limit=5)
    assert [(row["value"], row["pageviews"]) for row in pages] == [("/", 28), ("/menu", 10)]
    assert [(row["value"], row["visitors"]) for row in sources] == [("Google", 6), (None, 4)]


def test_analytics_import_of_plausible_leaves_out_days_with_events(site, tmp_path):
    path = tmp_path / "access.log"
    path.write_text(log_line(IMPORT_DAY))
    run_import(site, path, "log")
    outcomes = run_import(site, plausible_export_of_two_days(tmp_path), "plausible")

    assert outcomes == {"days of totals imported": 1, "days left out: they already have events": 1}
    assert import_week_summary(site)["visitors"] == 1 + 5
    path.write_text(log_line(IMPORT_DAY + timedelta(days=1)))
    assert run_import(site, path, "log") == {
        "left out: daily totals of that day were imported before": 1,
        "events added": 0,
    }


def test_rebuild_dirty_days_keeps_the_sums_of_an_imported_day(site, tmp_path):
    run_import(site, plausible_export_of_two_days(tmp_path), "plausible")
    write_visits(site, (minutes_from_march(IMPORT_DAY), 1, {}))
    rollups.rebuild_dirty_days()

    assert import_week_summary(site)["visitors"] == 15


def test_summary_uses_the_sums_of_an_imported_day_that_is_dirty(site, tmp_path):
    run_import(
        site,
        plausible_export(
            tmp_path,
            visitors=plausible_visitors(f"{IMPORT_DAY.date()},15,15,0,15,15"),
        ),
        "plausible",
    )
    write_visits(site, (minutes_from_march(IMPORT_DAY), 1, {}))

    assert import_week_summary(site)["visitors"] == 15


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("x.csv", "plausible", "imported_visitors"),
        ("imported_visitors.csv", "plausible", "no column `date`"),
        ("missing.log", "log", "Not a file"),
    ],
)
def test_analytics_import_refuses_files_that_it_cannot_read(site, tmp_path, name, source, message):
    if name != "missing.log":
        (tmp_path / name).write_text("a,b\n1,2\n")

    with pytest.raises(CommandError, match=message):
        run_import(site, tmp_path / name, source)
    assert import_week_summary(site)["visitors"] == 0


def test_analytics_import_of_plausible_leaves_out_today_and_the_future(site, tmp_path):
    today = timezone.now().date()
    path = plausible_export(
        tmp_path,
        visitors=plausible_visitors(f"{today},3,3,0,3,3", f"{today + timedelta(days=3)},3,3,0,3,3"),
    )

    outcomes = run_import(site, path, "plausible")

    assert (outcomes["days of totals imported"], outcomes["left out: today, or not before --until"]) == (0, 2)


def test_analytics_import_of_plausible_refuses_the_same_table_twice(site, tmp_path):
    path = plausible_export(
        tmp_path,
        visitors=plausible_visitors(f"{IMPORT_DAY.date()},3,3,0,3,3"),
    )
    duplicate = tmp_path / "imported_visitors_20240101_20240102.csv"
    duplicate.write_text(plausible_visitors(f"{IMPORT_DAY.date()},3,3,0,3,3"))

    with pytest.raises(CommandError, match="another file"):
        call_command(
            "analytics_import",
            site.subdomain,
            str(path),
            str(duplicate),
            "--from",
            "plausible",
            verbosity=0,
        )
    assert import_week_summary(site)["visitors"] == 0
