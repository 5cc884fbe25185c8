"""`make bench`: every table."""

import asyncio

from tests.bench import wrk
from tests.bench.admission import measure_decisions, measure_memory
from tests.bench.fold import measure_fold
from tests.bench.generation import measure_generation
from tests.bench.metering import measure_metering
from tests.bench.outage import measure_outage
from tests.bench.revocation import measure_revocation
from tests.bench.road import measure_road
from tests.bench.stripe import measure_reconciliation
from tests.bench.webhooks import measure_entitlements, measure_intake

wrk.install()
asyncio.run(measure_decisions())
measure_memory()
asyncio.run(measure_fold())
asyncio.run(measure_generation())
asyncio.run(measure_revocation())
asyncio.run(measure_road())
asyncio.run(measure_outage())
asyncio.run(measure_metering())
asyncio.run(measure_intake())
asyncio.run(measure_entitlements())
asyncio.run(measure_reconciliation())
