"""Who may, and how much: exact on every replica.

A plan's policies become *rules* of an account. Each rule has, at this edge and for
the present window, an *allowance*: what it may still give without asking. There are
two kinds, and both ask JetStream's counters (`events/counters.py`):

* A `Lease` is a block of a window's limit, counted as soon as it is granted.
* A `Hold` is a part of a budget, or a slot, set aside until it is known what was
  used; it expires, so that a dead edge's holds are free again.
"""

from edge.admission.admission import Admission, Admitted

__all__ = ["Admission", "Admitted"]
