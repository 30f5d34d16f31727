"""Compares our backups with pgBackRest, restic over pg_dump, pg_dump with gzip and OpenSSL, and pg_dump -Fd.

All save the same data of the same cluster in one run.
"""
