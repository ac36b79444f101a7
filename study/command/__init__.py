"""The command line: options, what they resolve to, the plan, and what the terminal shows."""
