"""Training tasks: what each model family learns, with its labels and losses."""
