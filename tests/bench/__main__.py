"""`make bench`: every table."""

import asyncio

from tests.bench import wrk
from tests.bench.admission import measure_decisions, measure_memory
from tests.bench.classification import measure_classification
from tests.bench.embeddings import measure_embeddings
from tests.bench.fold import measure_fold
from tests.bench.generation import measure_generation
from tests.bench.gpu import measure_gpu
from tests.bench.jobs import measure_jobs
from tests.bench.malformed import measure_malformed
from tests.bench.metering import measure_metering
from tests.bench.mirror import measure_mirror
from tests.bench.openai import measure_dialects, measure_openai
from tests.bench.outage import measure_outage
from tests.bench.questions import measure_questions
from tests.bench.revocation import measure_revocation
from tests.bench.road import measure_road
from tests.bench.sentiment import measure_sentiment
from tests.bench.slow_clients import measure_slow_clients
from tests.bench.streams import measure_streams
from tests.bench.stripe import measure_reconciliation
from tests.bench.translation import measure_translation
from tests.bench.webhooks import measure_entitlements, measure_intake
from tests.bench.workers import measure_workers

wrk.install()
asyncio.run(measure_decisions())
measure_memory()
asyncio.run(measure_fold())
asyncio.run(measure_generation())
asyncio.run(measure_embeddings())
asyncio.run(measure_workers())
asyncio.run(measure_revocation())
asyncio.run(measure_road())
asyncio.run(measure_slow_clients())
measure_dialects()
asyncio.run(measure_openai())
asyncio.run(measure_outage())
asyncio.run(measure_metering())
asyncio.run(measure_intake())
asyncio.run(measure_entitlements())
asyncio.run(measure_reconciliation())
asyncio.run(measure_mirror())
asyncio.run(measure_jobs())
asyncio.run(measure_streams())
measure_questions()
measure_translation()
asyncio.run(measure_gpu())
measure_classification()
measure_sentiment()
asyncio.run(measure_malformed())
