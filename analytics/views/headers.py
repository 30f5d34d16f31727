"""Headers that several views of analytics send."""

# Shared caches must not store the response, and a browser must revalidate it (RFC 9111 section 5.2.2).
PRIVATE_CACHE_HEADERS = {"Cache-Control": "private, no-cache"}
