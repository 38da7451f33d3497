"""Which recorder captures which channel: one interface, its drivers, and the plan that all recorders share."""
