"""One real instance under a drawn course of faults, and the oracle afterwards."""
