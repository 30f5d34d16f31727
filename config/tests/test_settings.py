import pytest
from django.conf import settings
from django.utils.module_loading import import_string

from config.celery import app


def test_celery_beat_schedule_has_every_task_of_the_platform_without_an_expiry():
    app.loader.import_default_modules()
    own_tasks = {name for name in app.tasks if not name.startswith("celery.")}

    assert {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()} == own_tasks
    assert all("options" not in entry for entry in settings.CELERY_BEAT_SCHEDULE.values())
    assert {app.amqp.router.route({}, name)["queue"].name for name in own_tasks} == set(settings.QUEUES)


@pytest.mark.django_db
def test_celery_beat_schedule_has_tasks_that_can_run_twice():
    for entry in settings.CELERY_BEAT_SCHEDULE.values():
        task = import_string(entry["task"])
        assert (task.apply().state, task.apply().state) == ("SUCCESS", "SUCCESS")
