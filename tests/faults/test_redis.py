"""Redis killed, hung and slow under a reader and its writer, in small."""

from pathlib import Path

import pytest
from benchmarks import faults_redis
from benchmarks.faults_redis import Times


@pytest.mark.engine("redis")
def test_all_are_answered_while_redis_is_away_and_in_full_afterwards(stock: Path) -> None:
    # Long, so that on a machine that is busy nothing is late that is not hurt.
    times = Times(budget=5_000, margin=1_000, redis=500, slow=1_000)
    # As long, so that the breaker has opened, three times late, before it is over.
    found = faults_redis.endured(stock, 4.0, times=times)
    assert [each.fault for each in found] == ["killed", "hung", "slow"]
    for each in found:
        assert each.answered == each.asked > 10
        assert "order of retrieval" in each.rungs
        assert each.back_s > 0
