from expect import raises
from filter_outliers import filter_outliers


def test_filter_outliers_keeps_the_rest_in_order():
    assert filter_outliers([6, 5, 90, 5, 6, 5, 6]) == [6, 5, 5, 6, 5, 6]


def test_filter_outliers_keeps_all_when_none_stands_out():
    assert filter_outliers([4, 1, 3, 2]) == [4, 1, 3, 2]


def test_filter_outliers_obeys_the_threshold_it_is_given():
    assert filter_outliers([6, 5, 90, 5, 6, 5, 6], 3.0) == [6, 5, 90, 5, 6, 5, 6]
    assert filter_outliers([2, 6], 0.5) == []


def test_filter_outliers_leaves_its_argument_alone():
    values = [6, 5, 90, 5, 6, 5, 6]
    filter_outliers(values)
    assert values == [6, 5, 90, 5, 6, 5, 6]


def test_filter_outliers_refuses_an_empty_list():
    assert raises(ValueError, filter_outliers, [])
