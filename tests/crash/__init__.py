"""Crashes of every kind at every step of writing: killed processes, failing calls, power cuts.

python -m tests.crash.calls       each n-th system call killed, failing with EIO, failing with ENOSPC
python -m tests.crash.power       every state that a power cut may leave, by a model of the disk
python -m tests.crash.images      copies of a mounted ext4 image (root)
python -m tests.crash.kills       a whole recorder, its database and its station, killed at random
"""
