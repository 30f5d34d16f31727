"""The structure of a database: how it is dumped, described, restored and compared."""
