"""Every write of backups that carries a rule, one module for each subject."""
