from get_records import SALES_RECORDS, get_records
from sales import well_formed


def test_get_records_returns_the_constant():
    assert get_records() == SALES_RECORDS


def test_get_records_has_twelve_records_with_all_fields():
    assert len(get_records()) == 12
    assert well_formed(get_records())


def test_get_records_keeps_the_invalid_record():
    assert [record["units"] for record in get_records()].count(0) == 1
