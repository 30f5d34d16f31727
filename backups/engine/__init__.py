"""Incremental, encrypted backups of a PostgreSQL database (14 or newer) over ordinary connections.

The engine does not import Django and does not know what the tables mean. `backup.take_backup` reads a
database and `restore.restore_backup` writes one. Between them lie packs (encrypted row data) and manifests
(what a run consists of) in an object store.
"""
