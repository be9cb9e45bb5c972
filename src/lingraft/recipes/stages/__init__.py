"""One file for each kind of stage: its settings, how it runs, and what it says in the report."""
