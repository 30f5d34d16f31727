"""`make bench` compares the requests per second of Getyousite and of the same work in Fastify."""
