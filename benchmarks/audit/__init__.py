"""Benchmarks of the audit trail."""
