"""Python runs this at its start when its folder is on PYTHONPATH: a task that comes again is done again.

No lease keeps a second one from the work, and no condition keeps it from ending the work a second time.
"""

from __future__ import annotations

from app.worker.ledger import Ledger
from tests.e2e.sabotage import take_out, without


async def _held_by_everybody(_: Ledger, *__: object) -> bool:
    return True


take_out(
    Ledger,
    "TAKE",
    without(Ledger.TAKE, (" AND status = 'processing'", ""), ("p.lease_until < now()", "true")),
)
take_out(Ledger, "END", without(Ledger.END, ("status = 'processing' AND", "")))
take_out(Ledger, "renew", _held_by_everybody)
