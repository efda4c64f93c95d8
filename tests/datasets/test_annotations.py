from __future__ import annotations

import numpy as np
import pytest

from singletrack.datasets.annotations import (
    Excerpt,
    read_boxes,
    read_config_seqs,
    read_properties,
    read_regions,
    read_table,
    read_values,
    read_vatic,
)
from singletrack.errors import InputError


@pytest.mark.parametrize("line", ["1,2,3.5,4", "1\t2\t3.5\t4", " 1  2 3.5 4 ", "1, 2, 3.5, 4", "1e0,2,35e-1,4"])
def test_numbers_may_be_parted_by_commas_tabs_or_spaces(line: str) -> None:
    assert read_boxes(f"{line}\r\n\n{line}\n").tolist() == [[1, 2, 3.5, 4]] * 2


def test_no_box_is_nan_and_an_empty_text_has_none() -> None:
    assert np.isnan(read_boxes("NaN,NaN,NaN,NaN")).all()
    assert read_boxes("").shape == (0, 4)
    assert read_regions("\n").shape == (0, 4)
    assert read_values("").shape == (0,)


def test_lines_that_are_no_boxes_are_named() -> None:
    with pytest.raises(InputError, match="expected 4 numbers in every line; line 2 has 3"):
        read_table("1,2,3,4\n1,2,3\n1,2,3,4")
    with pytest.raises(InputError, match=r"expected numbers; .*'x'"):
        read_table("1,2,x,4")
    with pytest.raises(InputError, match="x,y,width,height in every line; got 5 numbers"):
        read_boxes("1,2,3,4,5")


def test_values_stand_in_one_line_or_in_many() -> None:
    assert read_values("0,1,0\n").tolist() == [0, 1, 0]
    assert read_values("0\n1\n\n0\n").tolist() == [0, 1, 0]


def test_regions_become_the_upright_boxes_round_them() -> None:
    assert read_regions("5,5,10,20").tolist() == [[5, 5, 10, 20]]
    diamond = read_regions("10,0,20,5,10,10,0,5\n11,0,21,5,11,10,1,5")
    assert diamond.tolist() == [[0, 0, 20, 10], [1, 0, 20, 10]]
    mixed = read_regions("1,2,3,4\n10,0,20,5,10,10\nnan,nan,nan,nan\n1\n")
    assert mixed[:2].tolist() == [[1, 2, 3, 4], [10, 0, 10, 10]]
    assert np.isnan(mixed[2:]).all()
    with pytest.raises(InputError, match="got 3 numbers"):
        read_regions("1,2,3")


def test_masks() -> None:
    # 4 wide, 3 high, at 10,20; outside 5, inside 2, outside 2, inside 2:  ....  .XX.  .XX.
    assert read_regions("m10,20,4,3,5,2,2,2").tolist() == [[11, 21, 2, 2]]
    assert read_regions("m0,0,2,2,0,4").tolist() == [[0, 0, 2, 2]]
    assert np.isnan(read_regions("m0,0,0,0,0")).all()
    with pytest.raises(InputError, match="mask of 2 x 2 pixels; its runs add up to 5"):
        read_regions("m0,0,2,2,1,4")


def test_vatic_counts_frames_from_1_and_may_leave_some_out() -> None:
    text = '7 1 2 11 22 1 0 0 0 "a ball"\n7 5 2 15 22 9 1 0 1 "a ball"\n7 9 2 19 22 25 0 1 1 "a ball"\n'
    boxes, in_sight = read_vatic(text, 8)
    assert boxes[[0, 1, 3]].tolist() == [[1, 2, 10, 20], [5, 2, 10, 20], [9, 2, 10, 20]]
    assert np.isnan(boxes[2]).all()
    assert in_sight.tolist() == [True, False, False, True]
    with pytest.raises(InputError, match="nine numbers and a label"):
        read_vatic("1,2,3,4", 1)


def test_config_seqs_needs_its_form() -> None:
    text = "a={struct('name', 'x_1', 'path', [root '\\x\\'], 'startFrame', 3, 'endFrame', 9)};"
    assert read_config_seqs(text) == [[Excerpt("x_1", "x", (3, 9))]]
    with pytest.raises(InputError, match=r"expected a configSeqs\.m"):
        read_config_seqs("bike1\nbike2\n")


def test_properties() -> None:
    text = "[METAINFO]\nurl: https://youtu.be/x\nfps = 30\nname=a=b\n"
    assert read_properties(text) == {"url": "https://youtu.be/x", "fps": "30", "name": "a=b"}
