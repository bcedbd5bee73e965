"""Benchmarks of the collector: each prints what it measured and the ratio to what was promised."""
