"""The audit trail: what recording adds to a write, and how fast the chain is verified."""
