"""Commands: their options, what these resolve to, the plan, and what the terminal shows."""
