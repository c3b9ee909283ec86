"""A quick form of `benchmarks/coverage.py`: bounds that a method which claims too much does not
keep.
"""

import pytest
from benchmarks import coverage

DRAWS = 400
"""A share of .95 has a deviation of .011 then: .91 lies 3.6 of them below."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "design", ["10 x 20", "100 of 5 to 80", "250 x 20, 2 % positive", "100 x 20, ties"]
)
def test_intervals_hold_the_truth_as_often_as_they_say(design):
    shares = coverage.intervals(DRAWS, {design: coverage.DESIGNS[design]}, errors=(0.15,))
    assert (shares >= 0.91).all(axis=None), shares.to_string()


@pytest.mark.slow
def test_intervals_over_users_hold_what_intervals_over_requests_do_not():
    name = "40 users x 25 x 20"
    shares = coverage.intervals(200, {name: coverage.DESIGNS[name]}, errors=(0.15,)).droplevel(1)
    assert (shares.loc[name] >= 0.89).all(), shares.to_string()
    assert shares.loc[f"{name}, users not given", "AUC"] < 0.8


@pytest.mark.slow
def test_good_files_are_never_broken_and_shifted_ones_always():
    shares = coverage.verdicts(60)
    good = shares.loc[["good, AUC -.0002", "four bits, AUC -.002", "moved by .04"]]
    assert (good["broken"] == 0).all() and (
        good["too few rows"].xs(200, level="test rows")[:2] > 0.1
    ).all()
    assert (shares.loc[["moved by .06", "moved by .08"], "broken"] == 1).all()
    bad = shares.loc[["two bits, AUC -.025"]]
    assert (bad["ships with loss"] == 0).all() and (bad["broken"] > 0.8).all()
