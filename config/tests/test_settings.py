import pytest
from django.conf import settings
from django.utils.module_loading import import_string

from config.celery import app


def test_celery_beat_schedule_names_tasks_that_exist_and_expire_with_their_period():
    for name, entry in settings.CELERY_BEAT_SCHEDULE.items():
        assert import_string(entry["task"]).name in app.tasks, name
        assert entry["options"]["expires"] == entry["schedule"], name


@pytest.mark.django_db
def test_celery_beat_schedule_has_tasks_that_can_run_twice():
    for entry in settings.CELERY_BEAT_SCHEDULE.values():
        task = import_string(entry["task"])
        assert (task.apply().state, task.apply().state) == ("SUCCESS", "SUCCESS")
