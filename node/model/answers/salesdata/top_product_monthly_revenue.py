from top_product_records import top_product_records


def top_product_monthly_revenue() -> dict:
    """Return the top product's revenue per month, months in order of appearance."""
    months = {}
    for record in top_product_records():
        months[record["month"]] = months.get(record["month"], 0.0) + record["revenue"]
    return months
