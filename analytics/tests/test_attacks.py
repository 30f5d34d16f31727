"""What a reviewer who meant harm found, and what must not come back."""

import re
from datetime import UTC, date, datetime, timedelta
from unittest.mock import Mock

import pytest
from django.core.management import CommandError
from django.db import DataError, connection, transaction
from django.test import Client
from django.utils import timezone

from analytics.ingest import stream, writer
from analytics.ingest.stream import Event
from analytics.management.commands.analytics_import import site_lock
from analytics.models import Kind, Settings, Subscription
from analytics.reports import event_sql, query, rollup_sql, rollups
from analytics.reports.time_zones import DateRange
from analytics.sharing import weekly_mail
from analytics.tests.test_imports import DAY, UMAMI, line, plausible, run, summary, umami_row
from analytics.tests.test_intake import ask, view
from analytics.tests.test_saved import goal, order, put
from analytics.tests.test_sharing import MONDAY, link, path_of
from conftest import sign_in
from core import tenancy
from core.storage import redis
from sites.tests.factories import SiteFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner(site):
    return sign_in(site.owner)


def drained():
    return sum(writer.drain_shard(shard) for shard in range(stream.SHARDS))


def rows(site):
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM analytics_event WHERE site_number = %s", [site.number])
        return cursor.fetchone()[0]


@pytest.mark.parametrize(
    "said",
    [
        {"n": "Order", "v": {"amount": 1, "currency": "A\tB"}},
        {"n": "Order", "v": {"amount": 1, "currency": "A\nB"}},
        {"n": "Order", "v": {"amount": 1, "currency": "ÄÖÜ"}},
        {"u": "?utm_source=%00"},
        {"u": "?ref=%00x%09y&utm_campaign=%0A%5C."},
        {"r": f"http://{'a' * 600}/"},
        {"r": "http://x.example/\ud800"},
        {"u": "?utm_term=\ud800"},
        {"n": "Order", "p": {"a": "\\N", "b\t": "\\", "c": "\n"}},
    ],
    ids=str,
)
def test_nothing_that_a_browser_says_holds_up_the_writer(site, said):
    address = "http://shop.localhost:8000/"
    status, *_ = ask(site, {**view(), **said, "u": address + said.get("u", "")})
    assert status == 202
    assert ask(site, view("/after"))[0] == 202

    assert drained() >= 1
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT t.text FROM analytics_event e JOIN analytics_term t ON t.id = e.page WHERE e.site_number = %s",
            [site.number],
        )
        assert "/after" in {row[0] for row in cursor.fetchall()}


def test_what_the_database_refuses_is_left_out_alone(site):
    """However it came into the stream."""
    bad = Event(site.number, Kind.PAGEVIEW, "/bad", id=1, visitor=4, source="\x00")
    stream.append_events(
        [Event(site.number, Kind.PAGEVIEW, f"/{number}", id=number + 2, visitor=4) for number in range(3)]
    )
    redis.client().xadd(stream.stream_key(bad.shard), {"e": bad.to_json(), "v": "9"})
    stream.append_events([Event(site.number, Kind.PAGEVIEW, "/last", id=9, visitor=4)])

    assert drained() == 5
    assert rows(site) == 4
    assert drained() == 0


def test_a_zone_that_postgresql_does_not_know_is_refused(site, owner):
    for name in ("localtime", "Europe/Nowhere", "posix/Europe/Berlin"):
        assert (
            owner.call("PATCH", f"/api/v1/sites/{site.pk}/analytics/settings", {"timezone": name}).status_code
            == 400
        ), name
    assert (
        owner.call(
            "PATCH", f"/api/v1/sites/{site.pk}/analytics/settings", {"timezone": "Asia/Kolkata"}
        ).status_code
        == 200
    )


def test_a_day_that_cannot_be_counted_holds_up_no_other(site, monkeypatch):
    other = SiteFactory()
    with tenancy.context(tenancy.SYSTEM):
        other.refresh_from_db()
    put(site, (0, 1, {}))
    put(other, (0, 1, {}))
    genuine = rollup_sql.rebuild_day
    monkeypatch.setattr(
        rollup_sql,
        "rebuild_day",
        lambda number, *more: (
            genuine(number, *more) if number == other.number else Mock(side_effect=DataError)()
        ),
    )

    assert rollups.rebuild_dirty_days() >= 1
    day = date(2026, 3, 1)
    assert rollup_sql.list_dirty_days(DateRange(other.number, "UTC", day, day)) == []
    assert rollup_sql.list_dirty_days(DateRange(site.number, "UTC", day, day)) == [day]


MARCH = "from=2026-03-01&to=2026-03-02"


def test_a_page_that_a_link_keeps_back_is_nowhere_on_it(site, owner):
    put(
        site,
        (0, 1, {"page": "/shown"}),
        (1, 1, {"page": "/secret"}),
        (2, 1, order("99.00", "EUR", page="/secret")),
        (3, 2, {"page": "/shown"}),
    )
    goal(owner, site, "page:is:/secret", name="Saw it")
    goal(owner, site, "event:is:Order", name="Orders")
    goal(owner, site, "page:is:/shown", "page:is:/secret", kind="funnels", name="In")
    owner.post(f"sites/{site.pk}/analytics/annotations", {"day": "2026-03-01", "text": "Fired somebody"})

    for frozen in ("page:is_not:/secret", "page:is:/shown", "page:contains_not:secr"):
        text = (
            Client()
            .get(f"{path_of(link(owner, site, name='x', conditions=[frozen]))}?{MARCH}&pages=exit_page")
            .content.decode()
        )
        counted = re.sub(r"Page is /secret", "", text)  # the funnel says what its step is; nobody took it
        assert "/secret" not in counted, frozen
        assert "99.00" not in text
        assert re.search(r"Saw it</th><td>0</td>", text)
        assert "Fired" not in text
        assert "Exit pages" not in text


def test_properties_cannot_be_guessed_through_a_link(site, owner):
    put(site, (0, 1, order("1.00", "EUR", props={"email": "bob@example.com"})))

    text = (
        Client()
        .get(f"{path_of(link(owner, site))}?{MARCH}&filter=property:email:contains:bob")
        .content.decode()
    )

    assert "This address was not understood" in text


def test_a_negative_filter_leaves_out_the_visits_that_did_it(site, owner):
    put(
        site,
        (0, 1, {"page": "/"}),
        (1, 1, {"page": "/cart"}),
        (2, 1, order("1.00", "EUR")),
        (0, 2, {"page": "/"}),
        (2, 2, order("2.00", "EUR")),
    )
    goal(owner, site, "event:is:Order")

    found = owner.get(f"sites/{site.pk}/analytics/conversions?{MARCH}&filter=page:is_not:/cart").json()[
        "results"
    ][0]

    assert (found["converted"], found["conversion_rate"], found["revenue"]) == (1, 1.0, {"EUR": "2.00"})


def test_days_that_are_not_over_are_not_taken_from_plausible(site, tmp_path):
    today = timezone.now().date()
    path = plausible(
        tmp_path,
        visitors=f"date,visitors,pageviews,bounces,visits,visit_duration\n{today},3,3,0,3,3\n{today + timedelta(days=3)},3,3,0,3,3\n",
    )

    told = run(site, path, "plausible")

    assert (told["days of sums imported"], told["left out: today, or not before --until"]) == (0, 2)


def test_the_same_table_twice_is_refused(site, tmp_path):
    path = plausible(
        tmp_path, visitors=f"date,visitors,pageviews,bounces,visits,visit_duration\n{DAY.date()},3,3,0,3,3\n"
    )
    double = tmp_path / "imported_visitors_20240101_20240102.csv"
    double.write_text(f"date,visitors,pageviews,bounces,visits,visit_duration\n{DAY.date()},3,3,0,3,3\n")
    from django.core.management import call_command

    with pytest.raises(CommandError, match="another file"):
        call_command(
            "analytics_import", site.subdomain, str(path), str(double), "--from", "plausible", verbosity=0
        )
    assert summary(site)["visitors"] == 0


def test_a_dirty_imported_day_keeps_its_sums(site, tmp_path):
    run(
        site,
        plausible(
            tmp_path,
            visitors=f"date,visitors,pageviews,bounces,visits,visit_duration\n{DAY.date()},15,15,0,15,15\n",
        ),
        "plausible",
    )
    put(site, (int((DAY - datetime(2026, 3, 1, 10, tzinfo=UTC)).total_seconds() // 60), 1, {}))

    assert summary(site)["visitors"] == 15


def test_an_import_never_reaches_days_that_were_forgotten(site, tmp_path):
    with tenancy.context(tenancy.SYSTEM):
        Settings.objects.create(site=site, keep_days=10)
    path = tmp_path / "access.log"
    path.write_text(line(DAY))

    assert run(site, path, "log")["left out: older than events are kept here (ANALYTICS_KEEP_DAYS)"] == 1


def test_logs_of_several_servers_add_up(site, tmp_path):
    one = tmp_path / "a.log"
    other = tmp_path / "b.log"
    one.write_text(line(DAY, address="203.0.113.1") + line(DAY, address="203.0.113.2"))
    other.write_text(line(DAY, address="203.0.113.3"))

    assert run(site, one, "log", name="a")["events added"] == 2
    assert run(site, other, "log", name="b")["events added"] == 1
    assert run(site, other, "log", name="b")["already imported"] == 1


def test_other_hosts_are_left_out(site, tmp_path):
    log = tmp_path / "access.log"
    rows_ = tmp_path / "website_event.csv"
    log.write_text(
        "other.example:443 " + line(DAY, target="/private") + "www.bakery.example:443 " + line(DAY)
    )
    rows_.write_text(
        "\n".join(
            [
                UMAMI,
                umami_row(1, 1, DAY, hostname="other.example"),
                umami_row(2, 2, DAY, hostname="www.bakery.example"),
            ]
        )
    )

    assert run(site, log, "log", host="www.bakery.example") == {
        "events added": 1,
        "left out: of another host than --host": 1,
    }
    assert run(site, rows_, "umami", host="www.bakery.example") == {
        "events added": 1,
        "left out: of another host than --host": 1,
    }


def test_one_import_of_a_site_runs_at_a_time(site, tmp_path, databases_of_two):
    with databases_of_two.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtext('analytics import'), %s)", [site.number])
    with pytest.raises(CommandError, match="Another import"), site_lock(site.number):
        pass


@pytest.fixture
def databases_of_two():
    """A second connection."""
    from django.db import connections

    made = connections.create_connection("default")
    yield made
    made.close()


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("Atlantic/Azores", date(2026, 10, 25)),
        ("Australia/Lord_Howe", date(2026, 10, 4)),
        ("America/Havana", date(2026, 11, 1)),
        ("Asia/Kathmandu", date(2026, 5, 1)),
    ],
)
@pytest.mark.parametrize("counted", [False, True])
def test_series_have_every_view_where_clocks_change(site, zone, day, counted):
    with tenancy.context(tenancy.SYSTEM):
        Settings.objects.create(site=site, timezone=zone)
    span = DateRange(site.number, zone, day - timedelta(days=1), day + timedelta(days=1))
    since = span.parameters["since"]
    until = span.parameters["until"]
    moments = [
        since + timedelta(minutes=13) * number
        for number in range(int((until - since) / timedelta(minutes=13)))
    ]
    with transaction.atomic():
        writer.write_rows(
            [
                (at, None, writer.json.loads(Event(site.number, Kind.PAGEVIEW, "/", id=number + 1).to_json()))
                for number, at in enumerate(moments)
            ]
        )
    if counted:
        rollups.rebuild_dirty_days()

    for interval in ("hour", "day", "week", "month"):
        with transaction.atomic():
            series = query.timeseries(query.Query(span), interval)
        assert sum(point["pageviews"] for point in series) == len(moments), interval
        assert len({point["at"] for point in series}) == len(series)


def test_a_rate_is_of_those_whom_goals_can_know(site, owner, tmp_path):
    run(
        site,
        plausible(
            tmp_path,
            visitors=f"date,visitors,pageviews,bounces,visits,visit_duration\n{DAY.date()},15,15,0,15,15\n",
        ),
        "plausible",
    )
    minute = int((DAY + timedelta(days=1) - datetime(2026, 3, 1, 10, tzinfo=UTC)).total_seconds() // 60)
    put(site, (minute, 1, {}), (minute + 1, 1, order("1.00", "EUR")))
    goal(owner, site, "event:is:Order")

    found = owner.get(f"sites/{site.pk}/analytics/conversions?period=90d").json()["results"][0]

    assert (found["converted"], found["conversion_rate"]) == (1, 1.0)


def test_who_asks_not_to_be_tracked_gives_a_name_and_a_country_only(site):
    said = {
        **view(),
        "n": "Order",
        "p": {"customer": "bob"},
        "v": {"amount": 1, "currency": "EUR"},
        "r": "https://forum.example/u/bob",
    }
    address = "http://shop.localhost:8000/?utm_campaign=mail-to-bob"

    assert ask(site, {**said, "u": address}, HTTP_SEC_GPC="1")[0] == 202
    drained()

    found = event_sql.list_events(
        site.number, timezone.now() - timedelta(minutes=5), timezone.now() + timedelta(minutes=5), limit=5
    )[0]
    kept = {name: value for name, value in found.items() if value and name not in {"at", "kind"}}
    assert kept == {"page": "/", "name": "Order"}


def test_visits_of_events_that_carry_their_time_are_by_that_time(site, owner):
    now = timezone.now() - timedelta(hours=5)
    agent = "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/130.0.0.0 Safari/537.36"
    said = [
        {
            "name": "pageview",
            "url": f"http://{site.subdomain}.localhost/{number}",
            "timestamp": (now + timedelta(hours=number)).isoformat(),
            "address": "203.0.113.9",
            "user_agent": agent,
        }
        for number in range(4)
    ]
    assert owner.post(f"sites/{site.pk}/events", said).json()["accepted"] == 4
    drained()

    found = owner.get(f"sites/{site.pk}/analytics/summary?period=7d").json()["metrics"]

    assert (found["visits"], found["visit_duration"]) == (4, 0)


def test_a_weekly_mail_that_fails_holds_up_no_other(site, owner, monkeypatch):
    other = SiteFactory()
    with tenancy.context(tenancy.SYSTEM):
        for one in (site, other):
            Subscription.objects.create(site=one, user=one.owner, last=date(2026, 3, 2))
    genuine = weekly_mail._mail_context
    monkeypatch.setattr(
        weekly_mail,
        "_mail_context",
        lambda row, *more: genuine(row, *more) if row.site_id == other.pk else Mock(side_effect=DataError)(),
    )

    assert weekly_mail.send_due_mails(now=MONDAY) == 1
