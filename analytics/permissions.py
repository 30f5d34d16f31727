"""Scopes of API keys for analytics."""

from core.permissions import scope

ANALYTICS_READ = scope("analytics.read", "Read the analytics of your sites")
EVENTS_WRITE = scope("events.write", "Send events of your sites' visitors")
