"""Posts that several people change at the same time."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections

from sites.tests.test_posts import change, write

pytestmark = [pytest.mark.django_db, pytest.mark.commits]


def test_twenty_writers_of_one_post_lose_nothing(team):
    post = write(team)

    def tag(number):
        try:
            while True:
                current = team.editor.get(team.path(f"posts/{post['id']}"))
                tags = [*current.json()["tags"], f"t{number}"]
                answer = change(team, post, version=current["ETag"], tags=tags)
                if answer.status_code == 200:
                    return answer["ETag"]
                assert answer.status_code == 412
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(tag, range(20)))) == 20
    assert sorted(team.editor.get(team.path(f"posts/{post['id']}")).json()["tags"]) == sorted(
        f"t{n}" for n in range(20)
    )
