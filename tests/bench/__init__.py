"""Speed, as ratios within one run, on the processes that `tollgate up` starts.

`make bench` prints tables for docs/benchmarks.md. Nothing here passes or fails by time;
what fails is a total that does not add up.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as inference/models does, before torch
