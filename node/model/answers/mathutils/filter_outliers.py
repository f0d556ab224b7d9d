from outlier_mask import outlier_mask


def filter_outliers(lst: list, threshold: float = 2.0) -> list:
    """Return the elements that are no outliers, in their order."""
    if not lst:
        raise ValueError("an empty list has no outliers to remove")
    mask = outlier_mask(lst, threshold)
    return [x for x, is_outlier in zip(lst, mask, strict=True) if not is_outlier]
