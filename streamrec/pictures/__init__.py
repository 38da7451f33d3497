"""What recordings look like: thumbnails of television, waveforms of sound."""
