"""The writes of the sites app that have to keep business rules, one module for each subject."""
