"""The writes of the backups app, one module for each subject."""
