"""HLS over the recorded bytes: what was on, and what is on, for players."""
