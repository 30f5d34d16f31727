"""Backups of a PostgreSQL database (14 or newer) over ordinary connections: what changed since the last run,
encrypted, and back again.

Knows nothing of Django or of what the tables mean. `backup.take` reads, `restore.restore` writes; between
them lie packs and manifests in an object store.
"""
