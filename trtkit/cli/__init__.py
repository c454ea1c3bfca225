"""typer in, rich out: one command a file, and no logic."""
