"""Who may, and how much: exact on every replica.

A plan's policies become *rules* of an account. Each rule has, at this edge and for
the present window, an *allowance*: what it may still give without asking. There are
two kinds, and both ask JetStream's counters (`events/counters.py`):

* A `Lease` is a block of a window's limit, counted as soon as it is granted.
* A `Hold` is a part of a budget, or a slot, set aside until it is known what was
  used; it expires, so that a dead edge's holds are free again.

A stream's `Reservation` takes from them as it goes.
"""

from edge.admission.admission import Admission, Admitted
from edge.admission.reservation import Reservation

__all__ = ["Admission", "Admitted", "Reservation"]
