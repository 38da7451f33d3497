"""Stored files: content kept once and named by its hashes, files owned by who sent them."""
