"""Side-by-side measurements; each package is a command."""
