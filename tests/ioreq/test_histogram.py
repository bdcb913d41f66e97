"""Histograms of durations."""

from hypothesis import given
from hypothesis import strategies as st

from ioreq.histogram import Histogram, bucket, most


@given(st.integers(0, 1 << 62))
def test_a_bucket_holds_what_is_at_most_an_eighth_longer(ns):
    longest = most(bucket(ns))
    assert ns <= longest <= ns + ns // 8
    assert bucket(longest) == bucket(ns)
    assert bucket(longest + 1) == bucket(ns) + 1


def test_percentiles():
    histogram = Histogram()
    assert histogram.percentile(0.5) is None
    for ns in (100, 200, 300, 400):
        histogram.note(ns)
    histogram.note(1_000_000)
    assert histogram.percentile(0.5) == most(bucket(300))
    assert histogram.percentile(0.8) == most(bucket(400))
    assert histogram.percentile(0.99) == most(bucket(1_000_000))
    other = Histogram()
    other.add(histogram.pairs())
    other.add((index, -count) for index, count in histogram.pairs())
    assert other.percentile(1.0) is None
