"""Every write of accounts that carries a rule, one module for each subject."""
