"""What a rate limit expects of an answer, out of the answers before."""

from __future__ import annotations

from hypothesis import given, strategies as st

from orchestify.calls.runtime import LEARNED_FROM, SIZES_KEPT, OutputSizes


@given(st.lists(st.integers(0, 50), max_size=3 * SIZES_KEPT))
def test_it_is_the_95th_percentile_of_the_last_hundred(sizes: list[int]) -> None:
    learned = OutputSizes()
    for each in sizes:
        learned.add(each)
    kept = sorted(sizes[-SIZES_KEPT:])
    usual = 4_096 if len(kept) < LEARNED_FROM else kept[-(-95 * len(kept) // 100) - 1]
    assert learned.most_of(4_096) == usual
