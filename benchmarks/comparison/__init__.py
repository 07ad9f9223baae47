"""What ``benchmarks/table1.py`` is made of: glasses, simple baselines, jobs, and the report."""
