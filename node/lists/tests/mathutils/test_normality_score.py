from expect import near, raises
from normality_score import normality_score


def test_normality_score_of_balanced_data_is_zero():
    assert near(normality_score([2, 6]), 0.0)
    assert near(normality_score([10, 20, 30, 40]), 0.0)


def test_normality_score_adds_the_shift_and_the_surplus_spread():
    scores = [-1, 1, -1, 1, -1, 1, 97]
    middle = sum(scores) / 7
    spread = (sum((z - middle) ** 2 for z in scores) / 7) ** 0.5
    assert near(normality_score([4, 8, 4, 8, 4, 8, 200]), middle + spread - 1.0)


def test_normality_score_is_never_negative():
    scores = [1, -1, 1, -1, 1, -1, -97]
    middle = -sum(scores) / 7
    spread = (sum((z + middle) ** 2 for z in scores) / 7) ** 0.5
    assert near(normality_score([8, 4, 8, 4, 8, 4, -188]), middle + spread - 1.0)


def test_normality_score_obeys_the_threshold_it_is_given():
    assert near(normality_score([4, 8, 4, 8, 4, 8, 200], 3.0), 0.0)


def test_normality_score_refuses_an_empty_list():
    assert raises(ValueError, normality_score, [])
