"""Every write of sites that carries a rule, one module for each subject."""
