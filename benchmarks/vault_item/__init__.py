"""An item of a vault, an envelope of 1 KiB. It is never cached."""

from benchmarks.workload import RequestSpec, Workload

REQUEST = RequestSpec("/api/v1/vault/{vault}/items/{item}", signed_in=True, contains='"ciphertext"')
WORKLOAD = Workload(name="vault_item", getyousite=REQUEST, yardstick=REQUEST, goal=1.0)
