"""Origins to record from: real servers, and one of our own that misbehaves on command."""
