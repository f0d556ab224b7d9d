from expect import near, raises
from normalize import normalize


def test_normalize_scores_every_element_in_order():
    first, second = normalize([6, 2])
    assert near(first, 1.0)
    assert near(second, -1.0)
    assert len(normalize([1, 2, 4, 8, 16])) == 5


def test_normalize_uses_the_whole_list_for_each_element():
    scores = normalize([10, 20, 30, 40])
    assert near(scores[0], -15 / 125**0.5)
    assert near(scores[3], 15 / 125**0.5)


def test_normalize_leaves_its_argument_alone():
    values = [6, 2]
    normalize(values)
    assert values == [6, 2]


def test_normalize_refuses_lists_without_spread():
    assert raises(ValueError, normalize, [])
    assert raises(ValueError, normalize, [4, 4, 4])
