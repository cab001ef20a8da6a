"""Every operation asked at random by its own document: no 5xx, nothing that is not documented."""

import pytest

from bench.api_fuzz import fuzz


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_no_operation_answers_what_it_does_not_document(tmp_path):
    report = fuzz(tmp_path, 8)
    assert not report.wrong, "\n".join(report.lines())
    assert len(report.asked) >= 19 and all(sum(each.values()) >= 8 for each in report.asked.values())
