"""What moves from its folder to the bucket: recordings, clips and stored files, by the same steps H1 to H6."""
