"""What a capture costs beside plain ffmpeg and streamripper, all at once on the same machine."""
