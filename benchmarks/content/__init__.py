"""Benchmarks of content at size: SQL of each request over 1,000 sites, and the propagation of a publish."""
