"""Clips: exact cuts of a channel's time, each made into one file that says where it comes from."""
