"""`make bench`: our requests per second against those of the same work in Fastify, on this machine."""
