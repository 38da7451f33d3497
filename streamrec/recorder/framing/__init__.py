"""Finding frames and media time in bytes. Pure: buffers in, units out, no I/O."""
