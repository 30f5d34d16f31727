"""Fixtures of the sites app that tests from outside use too."""

from sites.tests.conftest import mailbox, team

__all__ = ["mailbox", "team"]
