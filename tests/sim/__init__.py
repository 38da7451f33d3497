"""A fleet of recorders in virtual time: the real control code on simulated stations and a simulated database."""
