"""Measurements of speed and memory, each against what it replaces; see docs/benchmarks.md."""
