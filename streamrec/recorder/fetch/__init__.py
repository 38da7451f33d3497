"""Fetching over HTTP: names, connections, TLS, redirects and answers, under the egress rules at every hop."""
