"""streamrec records radio and television streams around the clock and lets people use what was recorded."""

__version__ = "0.1.0"
