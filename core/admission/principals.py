"""The principal of a request: the user, session or API key that a verified credential stands for."""

from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Principal:
    """The user and the session or API key of a verified credential.

    `epoch` is the user's epoch when the credential was issued. For an API key, `session_id` is the id of the
    key, `scopes` holds what it may do, `limit` is its own rate limit in requests a minute (None for that of
    its owner alone), and `networks` are the only networks that it may be used from (empty for any).
    `impersonator` is the member of staff who acts as the user. `user_text` and `session_text` are the ids as
    text, for the keys of Redis and the log line of each request.
    """

    user_id: UUID
    session_id: UUID
    epoch: int
    roles: frozenset[str]
    scopes: frozenset[str] | None = None
    limit: int | None = None
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    impersonator: UUID | None = None
    user_text: str = field(init=False, compare=False, repr=False)
    session_text: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "user_text", str(self.user_id))
        object.__setattr__(self, "session_text", str(self.session_id))

    def may_come_from(self, address: str) -> bool:
        """Return whether the credential may be used from this IP address."""
        if not self.networks:
            return True
        try:
            client = ip_address(address)
        except ValueError:
            return False
        client = getattr(client, "ipv4_mapped", None) or client
        return any(client in network for network in self.networks)
