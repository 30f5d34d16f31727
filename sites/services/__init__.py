"""Every write to a site that follows a business rule, one module for each subject."""
