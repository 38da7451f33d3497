"""What a recorder asks of the channels' rows, behind one interface, with a driver each."""
