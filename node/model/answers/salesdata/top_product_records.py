from add_revenue import add_revenue
from top_product_name import top_product_name


def top_product_records() -> list:
    """Return all valid records of the top product, with their revenue."""
    name = top_product_name()
    return [record for record in add_revenue() if record["product"] == name]
