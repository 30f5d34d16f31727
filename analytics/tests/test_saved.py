"""Goals, funnels, segments and annotations: what they count, and who may save them."""

import csv
import io
import threading
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection, transaction

from accounts.tests.factories import UserFactory
from analytics import partitions, services
from analytics.ingest import writer
from analytics.ingest.stream import Event
from analytics.models import Definition, Kind
from analytics.reports import event_sql, query, rollups, sql_fragments
from analytics.reports.filters import parse_filter
from analytics.reports.sql_fragments import SqlCondition
from analytics.reports.time_zones import DateRange
from audit.models import Entry
from conftest import sign_in
from core import tenancy
from sites.models import Access
from sites.tests.factories import SiteFactory

pytestmark = pytest.mark.django_db
DAY = "from=2026-03-01&to=2026-03-02"


@pytest.fixture
def owner(site):
    return sign_in(site.owner)


def put(site, *events):
    """Events as `(minute of the first of March, visitor, facts)`; each visitor is on one visit."""
    rows = []
    for number, (minute, visitor, given) in enumerate(events):
        event = Event(
            site.number, **{"kind": Kind.PAGEVIEW, "page": "/", **given}, id=number + 1, visitor=visitor
        )
        at = datetime(2026, 3, 1, 10, tzinfo=UTC) + timedelta(minutes=minute)
        rows.append((at, visitor, writer.json.loads(event.to_json())))
    with transaction.atomic():
        writer.write_rows(rows)


def order(value, currency, **more):
    return {
        "kind": Kind.CUSTOM,
        "name": "Order",
        "value": value,
        "currency": currency,
        "page": "/paid",
        **more,
    }


@pytest.fixture
def shop(site):
    put(
        site,
        (0, 1, {"page": "/", "source": "Google"}),
        (1, 1, {"page": "/cart"}),
        (2, 1, order("10.00", "EUR")),
        (3, 1, order("2.50", "EUR")),
        (0, 2, {"page": "/"}),
        (1, 2, {"page": "/cart"}),
        (0, 3, {"page": "/cart"}),
        (1, 3, {"page": "/"}),
        (2, 3, order("7.00", "USD")),
        (0, 4, {"page": "/"}),
        (0, 4, {"kind": Kind.ENGAGEMENT, "page": "/cart", "engaged": 900}),
        (24 * 60, 5, {"page": "/"}),
        (24 * 60 + 1, 6, order("1.00", "EUR")),
    )


def goal(owner, site, *conditions, kind="goals", name="Goal"):
    answer = owner.post(f"sites/{site.pk}/analytics/{kind}", {"name": name, "conditions": list(conditions)})
    assert answer.status_code == 201, answer.content
    return answer.json()["id"]


@pytest.mark.parametrize("counted", [False, True])
def test_a_goal_says_how_often_by_whom_and_for_how_much(site, owner, shop, counted):
    if counted:
        rollups.rebuild_dirty_days()
    goal(owner, site, "event:is:Order", name="Orders")
    goal(owner, site, "page:is:/cart", name="Cart")

    found = {
        row["name"]: row
        for row in owner.get(f"sites/{site.pk}/analytics/conversions?{DAY}").json()["results"]
    }

    orders = found["Orders"]
    cart = found["Cart"]
    assert (orders["conversions"], orders["converted"], orders["conversion_rate"]) == (4, 3, 0.5)
    assert orders["revenue"] == {"EUR": "13.50", "USD": "7.00"}
    assert (cart["conversions"], cart["converted"], cart["revenue"]) == (3, 3, {}), (
        "an engagement is no page view"
    )


def test_reports_say_who_reached_a_goal(site, owner, shop):
    asked = f"{DAY}&goal={goal(owner, site, 'event:is:Order')}"
    base = f"sites/{site.pk}/analytics"

    whole = owner.get(f"{base}/summary?{asked}&compare=previous").json()
    assert (whole["metrics"]["converted"], whole["metrics"]["conversion_rate"], whole["sample"]) == (
        3,
        0.5,
        1.0,
    )
    assert (whole["compared"]["converted"], whole["compared"]["conversion_rate"]) == (0, None)
    days = owner.get(f"{base}/timeseries?{asked}").json()["results"]
    assert [(day["conversions"], day["revenue"].get("EUR")) for day in days] == [(3, "12.50"), (1, "1.00")]
    sources = owner.get(f"{base}/breakdown?{asked}&dimension=source").json()["results"]
    assert {row["value"]: row["converted"] for row in sources} == {None: 2, "Google": 1}, (
        "where the visit came from"
    )
    assert "converted" not in owner.get(f"{base}/summary?{DAY}").json()["metrics"]


def test_a_funnel_counts_who_goes_in_order_on_one_day(site, owner, shop):
    pk = goal(owner, site, "page:is:/", "page:is:/cart", "event:is:Order", kind="funnels")

    report = owner.get(f"sites/{site.pk}/analytics/funnels/{pk}/report?{DAY}").json()

    assert [step["visitors"] for step in report["results"]] == [5, 2, 1], (
        "3 went the other way, 5 and 6 are not the same"
    )
    assert [step["rate"] for step in report["results"]] == [1.0, 0.4, 0.2]
    assert [step["step_rate"] for step in report["results"]] == [1.0, 0.4, 0.5]
    narrowed = owner.get(
        f"sites/{site.pk}/analytics/funnels/{pk}/report?{DAY}&filter=source:is:Google"
    ).json()
    assert [step["visitors"] for step in narrowed["results"]] == [1, 1, 1]


def test_a_filter_by_page_follows_its_visits_to_the_goal(site, owner, shop):
    pk = goal(owner, site, "page:is:/", "event:is:Order", kind="funnels")
    goal(owner, site, "event:is:Order")
    base = f"sites/{site.pk}/analytics"
    asked = f"{DAY}&filter=page:is:/cart"

    report = owner.get(f"{base}/funnels/{pk}/report?{asked}").json()
    assert [step["visitors"] for step in report["results"]] == [4, 2], (
        "1 to 4 were at the cart; 1 and 3 ordered after the first page"
    )
    found = owner.get(f"{base}/conversions?{asked}").json()["results"][0]
    assert (found["converted"], found["conversion_rate"], found["revenue"]) == (
        2,
        0.5,
        {"EUR": "12.50", "USD": "7.00"},
    )


def test_the_same_page_twice_in_a_funnel_takes_two_views(site, owner):
    put(site, (0, 1, {}), (0, 2, {}), (1, 2, {}))
    pk = goal(owner, site, "page:is:/", "page:is:/", kind="funnels")

    report = owner.get(f"sites/{site.pk}/analytics/funnels/{pk}/report?{DAY}").json()

    assert [step["visitors"] for step in report["results"]] == [2, 1]


def test_two_steps_within_one_millisecond_keep_their_order():
    packed = writer.json.dumps([7, 0, "/", 1, None, "", 1, *[""] * 13, None, None, None, None]).encode()
    (first, *_), (second, *_) = writer._parse_entries(
        [(f"1700000000000-{place}".encode(), {b"e": packed, b"v": b"1"}) for place in (0, 1)]
    )

    assert first < second < first + 1_000


def test_a_segment_stands_for_its_filters(site, owner, shop):
    pk = goal(owner, site, "source:is:Google", kind="segments")
    base = f"sites/{site.pk}/analytics"

    for report in ("summary", "timeseries", "breakdown"):
        named = owner.get(f"{base}/{report}?{DAY}&segment={pk}").json()
        assert named == owner.get(f"{base}/{report}?{DAY}&filter=source:is:Google").json()
    both = owner.get(f"{base}/summary?{DAY}&segment={pk}&filter=page:is:/cart").json()["metrics"]
    assert (both["pageviews"], both["visitors"]) == (1, 1)
    assert owner.get(f"{base}/summary?{DAY}&segment=nonsense").status_code == 400
    assert owner.get(f"{base}/summary?{DAY}&segment={goal(owner, site, 'page:is:/')}").status_code == 404, (
        "a goal"
    )


def test_what_is_saved_is_refused_when_it_makes_no_sense(site, owner):
    base = f"sites/{site.pk}/analytics"
    for kind, conditions in [
        ("goals", []),
        ("goals", ["page"]),
        ("goals", ["page:is:"]),
        ("goals", ["page:is:\x00"]),
        ("goals", ["nothing:is:x"]),
        ("goals", "page:is:/"),
        ("goals", ["page:is:/"] * 11),
        ("funnels", ["page:is:/"]),
        ("funnels", ["page:is:/"] * 9),
        ("goals", [7]),
        ("goals", ["page:is:" + "x" * 2000]),
    ]:
        assert owner.post(f"{base}/{kind}", {"name": "x", "conditions": conditions}).status_code == 400, (
            conditions
        )
    goal(owner, site, "page:is:/", name="Twice")
    again = owner.post(f"{base}/goals", {"name": "Twice", "conditions": ["page:is:/"]})
    assert (again.status_code, again.json()["code"]) == (409, "name_taken")
    other = goal(owner, site, "page:is:/", name="Other")
    renamed = owner.call("PATCH", f"/api/v1/{base}/goals/{other}", {"name": "Twice"})
    assert (renamed.status_code, renamed.json()["code"]) == (409, "name_taken")


def test_a_site_has_a_hundred_goals_at_most(site, owner, monkeypatch):
    monkeypatch.setattr(services.enforce_row_limit, "__kwdefaults__", {"limit": 2})
    for number in range(2):
        goal(owner, site, "page:is:/", name=str(number))

    answer = owner.post(f"sites/{site.pk}/analytics/goals", {"name": "x", "conditions": ["page:is:/"]})

    assert (answer.status_code, answer.json()["code"]) == (409, "too_many_saved")
    assert (
        owner.post(
            f"sites/{site.pk}/analytics/segments", {"name": "x", "conditions": ["page:is:/"]}
        ).status_code
        == 201
    )


def test_viewers_read_and_only_editors_save(site, owner):
    pk = goal(owner, site, "page:is:/")
    viewer = UserFactory()
    with tenancy.context(tenancy.SYSTEM):
        Access.objects.create(site=site, user=viewer, role="viewer")
    looks = sign_in(viewer)
    base = f"sites/{site.pk}/analytics"

    assert looks.get(f"{base}/goals/{pk}").status_code == 200
    assert looks.post(f"{base}/goals", {"name": "x", "conditions": ["page:is:/"]}).status_code == 403
    assert looks.call("PATCH", f"/api/v1/{base}/goals/{pk}", {"name": "x"}).status_code == 403
    assert looks.delete(f"{base}/goals/{pk}").status_code == 403
    with (
        pytest.raises(Exception, match="row-level security"),
        tenancy.context(tenancy.user_context(viewer.pk)),
    ):
        Definition.objects.create(site=site, kind="goal", name="Behind the views", conditions=[])


def test_another_sites_goal_is_not_there(site, owner):
    theirs = SiteFactory()
    pk = goal(sign_in(theirs.owner), theirs, "page:is:/")

    assert owner.get(f"sites/{site.pk}/analytics/goals/{pk}").status_code == 404
    assert owner.get(f"sites/{site.pk}/analytics/summary?goal={pk}").status_code == 404
    assert owner.delete(f"sites/{site.pk}/analytics/goals/{pk}").status_code == 404
    with tenancy.context(tenancy.user_context(site.owner_id)):
        assert not Definition.objects.filter(pk=pk).exists()


def test_publishes_stand_among_the_annotations(site, owner):
    base = f"sites/{site.pk}/analytics"
    assert owner.post(f"sites/{site.pk}/publish", {"note": "New prices"}).status_code == 201
    today = datetime.now(UTC).date()
    made = owner.post(f"{base}/annotations", {"day": today.isoformat(), "text": "A feast"}).json()

    found = owner.get(f"{base}/annotations?period=7d").json()

    texts = [(one["kind"], one["text"]) for one in found if one["day"] == today.isoformat()]
    assert ("note", "A feast") in texts
    assert any(kind == "publish" and text.endswith(": New prices") for kind, text in texts)
    assert owner.get(f"{base}/annotations?from=2020-01-01&to=2020-01-02").json() == []
    assert owner.delete(f"{base}/annotations/{made['id']}").status_code == 204
    assert [one["kind"] for one in owner.get(f"{base}/annotations?period=7d").json()].count("note") == 0


def test_saving_is_recorded_with_what_changed(site, owner):
    pk = goal(owner, site, "page:is:/", name="Old")
    owner.call("PATCH", f"/api/v1/sites/{site.pk}/analytics/goals/{pk}", {"name": "New"})
    owner.delete(f"sites/{site.pk}/analytics/goals/{pk}")

    events = list(Entry.objects.filter(subject_id=pk).order_by("id").values_list("event", flat=True))

    assert events == ["goal.created", "goal.changed", "goal.deleted"]


@pytest.mark.commits
def test_two_changes_at_once_both_stay(site, owner):
    pk = goal(owner, site, "page:is:/", name="Before")
    bodies = [{"name": "After"}, {"conditions": ["page:is:/x"]}]
    answers = []

    def change(body):
        answers.append(
            sign_in(site.owner)
            .call("PATCH", f"/api/v1/sites/{site.pk}/analytics/goals/{pk}", body)
            .status_code
        )
        connection.close()

    threads = [threading.Thread(target=change, args=[body]) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert answers == [200, 200]
    row = owner.get(f"sites/{site.pk}/analytics/goals/{pk}").json()
    assert (row["name"], row["conditions"]) == ("After", ["page:is:/x"])


def test_a_sample_says_so_and_comes_close(site, owner, monkeypatch):
    put(site, *[(minute % 600, 7919 * minute, {"page": "/", "country": "DE"}) for minute in range(4_000)])
    rollups.rebuild_dirty_days()
    exact = owner.get(f"sites/{site.pk}/analytics/summary?{DAY}&filter=page:is:/").json()
    monkeypatch.setattr(query, "SAMPLING_THRESHOLD_EVENTS", 1_000)

    found = owner.get(f"sites/{site.pk}/analytics/summary?{DAY}&filter=page:is:/").json()

    assert (exact["sample"], exact["metrics"]["visitors"]) == (1.0, 4_000)
    assert found["sample"] == 1 / 16
    assert abs(found["metrics"]["visitors"] - 4_000) < 800
    assert owner.get(f"sites/{site.pk}/analytics/summary?{DAY}").json()["sample"] == 1.0, (
        "sums need no sample"
    )

    finer = DateRange(site.number, "UTC", date(2026, 3, 1), date(2026, 3, 2), sample_factor=64)
    assert event_sql.sum_events(finer, condition=SqlCondition())[None][0] == 64 * sum(
        7919 * minute % 64 == 0 for minute in range(4_000)
    )


def test_an_index_has_the_sample(site):
    partitions.ensure({datetime(2026, 3, 1, tzinfo=UTC)})
    span = DateRange(site.number, "UTC", date(2026, 3, 1), date(2026, 3, 2), sample_factor=64)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("DROP INDEX analytics_event_site")
        cursor.execute(
            f"EXPLAIN {sql_fragments.WITH_SAMPLED_EVENTS} SELECT count(*) FROM visited_events",
            span.parameters,
        )
        plan = "\n".join(row[0] for row in cursor.fetchall())
        transaction.set_rollback(True)
    assert "Index Scan" in plan
    assert "Seq Scan" not in plan


def test_events_come_out_as_they_went_in(site, owner, shop):
    base = f"sites/{site.pk}/analytics/events"
    file = owner.get(f"{base}?{DAY}&format=csv")
    rows = list(csv.DictReader(io.StringIO(b"".join(file.streaming_content).decode())))

    assert len(rows) == 13
    assert file["Content-Disposition"] == 'attachment; filename="events-2026-03-01-2026-03-02.csv"'
    paid = [row for row in rows if row["name"] == "Order"]
    assert sum(Decimal(row["value"]) for row in paid) == Decimal("20.5")
    assert {row["source"] for row in rows} == {"", "Google"}
    assert [row["at"] for row in rows] == sorted(row["at"] for row in rows)

    seen = []
    link = f"/api/v1/{base}?{DAY}&limit=2"
    while link:
        page = owner.call("GET", link.replace("http://testserver", "")).json()
        seen += page["results"]
        link = page["next"]
    assert len(seen) == 13, "none twice, none missing, though several came at the same instant"
    assert seen[0]["kind"] == "custom"


def test_a_file_that_takes_several_reads_is_whole(site, owner, monkeypatch):
    from analytics.views import reports

    put(site, *[(number // 3, number, {}) for number in range(100)])
    monkeypatch.setattr(reports, "CSV_BATCH_EVENTS", 7)

    file = owner.get(f"sites/{site.pk}/analytics/events?{DAY}&format=csv")

    rows = list(csv.DictReader(io.StringIO(b"".join(file.streaming_content).decode())))
    assert len({row["visitor"] for row in rows}) == len(rows) == 100


def test_filters_read_what_they_wrote():
    for text in ("page:is:/menu|/", "property:plan:is_not:gold", "source:contains:a:b"):
        assert str(parse_filter(text)) == text


def test_a_funnel_is_one_statement(site, shop, django_assert_num_queries):
    span = DateRange(site.number, "UTC", date(2026, 3, 1), date(2026, 3, 2))
    with (
        transaction.atomic(),
        django_assert_num_queries(6),
    ):  # the settings, its size by sums and by events, two texts, the funnel
        query.funnel(query.Query(span), [parse_filter("page:is:/"), parse_filter("page:is:/cart")])
