"""Our backups beside pgBackRest, restic over pg_dump, pg_dump with gzip and OpenSSL, and pg_dump's folders:
the same cluster, the same data, one run.
"""
