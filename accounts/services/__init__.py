"""Services of accounts: every write that carries a rule, one module per subject."""
