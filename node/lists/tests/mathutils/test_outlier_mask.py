from expect import raises
from outlier_mask import outlier_mask


def test_outlier_mask_marks_high_and_low_outliers():
    assert outlier_mask([5, 6, 5, 6, 5, 6, 90]) == [False] * 6 + [True]
    assert outlier_mask([-80, 5, 6, 5, 6, 5, 6]) == [True] + [False] * 6


def test_outlier_mask_does_not_mark_what_lies_on_the_threshold():
    assert outlier_mask([2, 6], 1.0) == [False, False]


def test_outlier_mask_obeys_the_threshold_it_is_given():
    assert outlier_mask([2, 6], 0.9) == [True, True]
    assert outlier_mask([5, 6, 5, 6, 5, 6, 90], 3.0) == [False] * 7


def test_outlier_mask_refuses_what_cannot_be_normalized():
    assert raises(ValueError, outlier_mask, [])
    assert raises(ValueError, outlier_mask, [3])
