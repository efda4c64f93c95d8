"""Tracks the targets of a video library: a manifest goes in, Parquet tables come out, exactly once.

``run`` starts and resumes, ``status`` reports. ``manifest`` reads the rows, ``parts`` makes units of work of them,
``worker`` tracks one, and ``store`` commits it. See docs/scale.md.
"""
