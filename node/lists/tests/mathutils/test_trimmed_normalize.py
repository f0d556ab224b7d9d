from expect import near, raises
from trimmed_normalize import trimmed_normalize


def test_trimmed_normalize_scores_every_element_and_the_outlier_too():
    scores = trimmed_normalize([4, 8, 4, 8, 4, 8, 200])
    assert len(scores) == 7
    assert near(scores[0], -1.0)
    assert near(scores[1], 1.0)
    assert near(scores[6], 97.0)


def test_trimmed_normalize_obeys_the_threshold_it_is_given():
    scores = trimmed_normalize([4, 8, 4, 8, 4, 8, 202], 3.0)
    assert near(sum(scores), 0.0)


def test_trimmed_normalize_refuses_an_empty_list():
    assert raises(ValueError, trimmed_normalize, [])
