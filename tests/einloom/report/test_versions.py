"""batch_dot's meanings side by side."""

from __future__ import annotations

import pytest

from einloom.report.versions import MEANINGS, batch_axes, version_table
from einloom.text.calls import parse


@pytest.mark.parametrize(
    ("text", "axes"),
    [
        ("K.batch_dot(x[2,3,4,5], y[2,3,5,6], version='2.2.4')", "x 0,1; y 0,1"),
        ("K.batch_dot(x[2,3,4,5], y[2,3,5,6], version='2.3.1')", "x 0; y 0"),
        ("K.dot(x[2,3,4], y[7,4,5])", "x none; y none"),
        ("np.einsum('ai,ia->a', x[B,3], y[3,B])", "x 0; y 1"),
        ("np.einsum('ij->ji', x[B,3])", ""),
        ("x[B,3]", ""),
    ],
)
def test_batch_axes_are_those_shared_and_kept(text: str, axes: str) -> None:
    assert batch_axes(parse(text)) == axes


def test_the_table_has_a_row_for_each_meaning_and_a_reason_for_each_refusal() -> None:
    call = parse("K.batch_dot(x[2,3,4], y[2,3,4], axes=0, version='2.2.4')").call
    assert call is not None
    lines = version_table(call.arguments).splitlines()
    assert [line.split()[0] for line in lines[2:5]] == [version for version, _ in MEANINGS]
    assert lines[3].split()[1] == "rejected"
    assert lines[5].startswith("  2.2.5 rejects the call: Cannot perform batch_dot over axis 0")
