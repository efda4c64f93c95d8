"""The command line: one table of verbs in main.py, one file a verb. Nothing imports it."""
