"""Real applications: watch an unmodified program's kernel launches, keep what they work on, try another in it."""
