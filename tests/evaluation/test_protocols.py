"""The rules of the toolkits, each by a case small enough to work out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from singletrack.errors import InputError
from singletrack.evaluation.protocols import (
    DEFAULT_PROTOCOLS,
    PROTOCOLS,
    Score,
    default_protocol,
    mean_score,
    mean_speed,
    score_long_term,
    score_sequence,
)

NAN = float("nan")
BOX = [40.0, 40.0, 20.0, 20.0]
AWAY = [140.0, 140.0, 20.0, 20.0]  # no overlap, 141 pixels and 7 sizes off
EMPTY = [40.0, 40.0, 0.0, 20.0]
NOTHING = [0.0, 0.0, 0.0, 0.0]


def score(prediction: list[list[float]], truth: list[list[float]], protocol: str, benchmark: str = "otb") -> Score:
    return score_sequence(prediction, truth, protocol=protocol, benchmark=benchmark)


# --- which protocol ---


def test_each_benchmark_has_the_protocol_of_its_papers() -> None:
    assert set(DEFAULT_PROTOCOLS.values()) <= set(PROTOCOLS)
    assert default_protocol("lasot") == "ostrack"
    assert default_protocol("got10k") == "got10k"
    with pytest.raises(InputError, match="has no default protocol"):
        default_protocol("coco")
    with pytest.raises(InputError, match="ostrack, got10k, pysot"):
        score([BOX], [BOX], "vot")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_perfect_tracker(protocol: str) -> None:
    found = score([BOX] * 4, [BOX] * 4, protocol)
    assert found.measures["AUC"] == pytest.approx(20 / 21)  # no overlap is above 1
    assert found.measures["P"] == 1
    assert found.overlaps.tolist() == [1, 1, 1, 1]


# --- the first frame ---


@pytest.mark.parametrize(("protocol", "right"), [("ostrack", 0.5), ("got10k", 0.5), ("pysot", 0)])
def test_first_frame_is_the_true_box_but_for_pysot(protocol: str, right: float) -> None:
    assert score([AWAY, AWAY], [BOX, BOX], protocol).measures["P"] == right


def test_first_frame_does_not_count_on_got10k() -> None:
    found = score_sequence([AWAY, BOX, AWAY], [BOX] * 3, benchmark="got10k", cover=[8, 8, 8], size_wh=(200, 200))
    assert found.measures == {"AO": 0.5, "SR0.5": 0.5, "SR0.75": 0.5}
    assert found.weight == 2
    assert np.isnan(found.overlaps[0])


# --- empty predictions ---


def test_ostrack_takes_the_box_before_an_empty_one() -> None:
    found = score([BOX, AWAY, EMPTY, BOX, EMPTY, EMPTY], [BOX] * 6, "ostrack")
    assert found.overlaps.tolist() == [1, 0, 0, 1, 1, 1]


def test_ostrack_repairs_from_the_predicted_first_box() -> None:
    """It repairs before it puts the true box in the first frame's place."""
    assert score([AWAY, EMPTY], [BOX, BOX], "ostrack").overlaps.tolist() == [1, 0]


def test_ostrack_does_not_repair_where_the_truth_is_nan() -> None:
    """And so an empty box is handed on to the frame after."""
    absent = [NAN] * 4
    found = score([BOX, EMPTY, EMPTY], [BOX, absent, BOX], "ostrack", "uav123")
    assert np.array_equal(found.overlaps, [1, NAN, 0], equal_nan=True)


@pytest.mark.parametrize("protocol", ["got10k", "pysot"])
def test_others_take_an_empty_box_as_it_is(protocol: str) -> None:
    assert score([BOX, EMPTY], [BOX, BOX], protocol).overlaps.tolist() == [1, 0]


# --- frames without a target ---


def test_ostrack_counts_absent_frames() -> None:
    """As failures of overlap and distance, but as right in the normalized distance."""
    found = score([BOX, BOX, BOX, BOX], [BOX, BOX, NOTHING, NOTHING], "ostrack")
    assert found.measures["OP50"] == 0.5
    assert found.measures["P"] == 0.5
    assert found.measures["P_norm"] == 1
    assert found.measures["AO"] == 1


def test_ostrack_counts_absent_frames_of_uav123_as_right_in_pixels_too() -> None:
    assert score([BOX, BOX], [BOX, [NAN] * 4], "ostrack", "uav123").measures["P"] == 1


def test_ostrack_on_lasot_knows_hidden_frames() -> None:
    """There, and only there, a hidden frame fails in the normalized distance as well."""
    for benchmark, right in (("lasot", 0.5), ("lasot_ext", 1.0)):
        found = score_sequence([BOX, BOX], [BOX, BOX], benchmark=benchmark, visible=[True, False])
        assert found.measures["P_norm"] == right
        assert found.measures["OP50"] == found.measures["P"] == 0.5


def test_ostrack_without_invalid_frames_changes_the_denominator_only() -> None:
    found = score_sequence([BOX, BOX], [BOX, NOTHING], benchmark="otb", exclude_invalid=True)
    assert found.measures["OP50"] == 1
    assert found.measures["P_norm"] == 2  # as published: right in two frames of one


def test_nan_is_taken_as_the_zeros_that_the_benchmark_writes() -> None:
    for protocol in PROTOCOLS:
        with_nan = score([BOX, AWAY, BOX], [BOX, [NAN] * 4, BOX], protocol)
        with_zeros = score([BOX, AWAY, BOX], [BOX, NOTHING, BOX], protocol)
        assert with_nan.measures == with_zeros.measures


def test_frames_that_a_user_did_not_annotate_do_not_count() -> None:
    truth = [BOX, [NAN] * 4, NOTHING, BOX]
    for protocol in PROTOCOLS:
        found = score([BOX] * 4, truth, protocol, "folder")
        assert found.curves["success"][0] == pytest.approx(2 / 3)


def test_got10k_leaves_out_frames_without_cover_and_nan_of_uav123() -> None:
    found = score_sequence(
        [BOX, BOX, AWAY], [BOX, BOX, NOTHING], benchmark="got10k", cover=[8, 8, 0], size_wh=(200, 200)
    )
    assert found.measures["AO"] == 1
    assert score([BOX, AWAY], [BOX, [NAN] * 4], "got10k", "uav123").measures["P"] == 1
    assert score([BOX, AWAY], [BOX, NOTHING], "got10k", "otb").measures["P"] == 0.5


def test_pysot_on_lasot_compares_visible_frames_and_divides_by_all() -> None:
    found = score_sequence([BOX] * 4, [BOX] * 4, benchmark="lasot", protocol="pysot", visible=[True, True, True, False])
    assert found.measures["P"] == 0.75
    assert found.measures["P_norm"] == 0.75


def test_pysot_counts_a_center_at_the_edge_as_right() -> None:
    outside = [-30.0, 40.0, 20.0, 20.0]
    found = score([AWAY], [outside], "pysot")
    assert (found.measures["P"], found.measures["P_norm"], found.curves["success"][0]) == (1, 1, 0)


def test_nan_predictions_fail_with_pysot_and_are_refused_by_the_others() -> None:
    boxes = [BOX, [NAN] * 4]
    assert score(boxes, [BOX, BOX], "pysot").measures["P"] == 0.5
    for protocol in ("ostrack", "got10k"):
        with pytest.raises(InputError, match=r"got nan,nan,nan,nan in frame 1"):
            score(boxes, [BOX, BOX], protocol)


def test_negative_sizes_are_refused_by_ostrack_alone() -> None:
    boxes = [BOX, [40.0, 40.0, -5.0, 20.0]]
    for protocol in ("got10k", "pysot"):
        assert score(boxes, [BOX, BOX], protocol).overlaps[1] == 0
    with pytest.raises(InputError, match=r"got 40,40,-5,20 in frame 1"):
        score(boxes, [BOX, BOX], "ostrack")


# --- arithmetic ---


def test_got10k_clips_to_the_frame() -> None:
    """A box half outside is compared by its half inside."""
    truth, prediction = [-10.0, 0.0, 20.0, 10.0], [0.0, 0.0, 10.0, 10.0]
    found = score_sequence([BOX, prediction], [BOX, truth], benchmark="got10k", cover=[8, 8], size_wh=(100, 100))
    # x goes into the frame and the width stays: 20 wide from 0 on
    assert found.measures["AO"] == pytest.approx(0.5)


def test_normalized_precision_of_got10k_is_the_mean_of_its_curve() -> None:
    shifted = [42.0, 40.0, 20.0, 20.0]  # a tenth of its width
    found = score_sequence([BOX, shifted], [BOX, BOX], benchmark="lasot", protocol="got10k", visible=[True, True])
    assert found.measures["P_norm"] == pytest.approx((51 + 41) / 102)
    ours = score_sequence([BOX, shifted], [BOX, BOX], benchmark="lasot", visible=[True, True])
    assert ours.measures["P_norm"] == 1


def test_thresholds_are_strict_for_overlap_alone() -> None:
    half = [40.0, 40.0, 10.0, 20.0]  # overlap 1/2, center 5 pixels off
    for protocol in PROTOCOLS:
        found = score([BOX, half], [BOX, BOX], protocol)
        assert found.curves["success"][9:11].tolist() == [1, 0.5]
        assert found.curves["precision"][4:6].tolist() == [0.5, 1]


# --- sequences of odd length ---


def test_one_frame() -> None:
    for protocol in PROTOCOLS:
        assert score([BOX], [BOX], protocol).measures["P"] == 1
    found = score_sequence([BOX], [BOX], benchmark="got10k", cover=[8], size_wh=(100, 100))
    assert np.isnan(found.measures["AO"])
    assert found.weight == 0


def test_predictions_must_fit_the_truth() -> None:
    for protocol in PROTOCOLS:
        with pytest.raises(InputError, match="each of 3 frames; got 2"):
            score([BOX] * 2, [BOX] * 3, protocol)
        with pytest.raises(InputError, match="singletrack submit"):
            score([BOX] * 2, [BOX], protocol)
    assert score([BOX, BOX, AWAY], [BOX, BOX], "ostrack").measures["P"] == 1  # it cuts them, as published
    with pytest.raises(InputError, match="each of 2 frames; got 3"):
        score([BOX, BOX, AWAY], [BOX, BOX], "pysot")


def test_what_cannot_be_meant() -> None:
    with pytest.raises(InputError, match="has no true boxes"):
        score_sequence(np.empty((0, 4)), np.empty((0, 4)), benchmark="otb")
    with pytest.raises(InputError, match="predicted boxes"):
        score_sequence([1.0, 2, 3, 4], [BOX], benchmark="otb")
    with pytest.raises(InputError, match=r"full_occlusion\.txt"):
        score_sequence([BOX], [BOX], benchmark="lasot")
    with pytest.raises(InputError, match=r"cover\.label"):
        score_sequence([BOX], [BOX], benchmark="got10k", size_wh=(9, 9))
    with pytest.raises(InputError, match="size_wh"):
        score_sequence([BOX], [BOX], benchmark="got10k", cover=[8])
    with pytest.raises(InputError, match="visible must have one value for each of 1 frames"):
        score_sequence([BOX], [BOX], benchmark="lasot", visible=[True, False])
    with pytest.raises(InputError, match="protocol got10k"):
        score_sequence([BOX], [BOX], benchmark="got10k", exclude_invalid=True)
    with pytest.raises(InputError, match="no frame has a true box"):
        score_sequence([BOX], [NOTHING], benchmark="otb", exclude_invalid=True)


# --- many sequences ---


def test_sequences_count_alike_but_frames_do_on_got10k() -> None:
    pairs = [([BOX] * 2, [BOX] * 2), ([BOX, AWAY, AWAY, AWAY], [BOX] * 4)]
    otb = mean_score(score(*pair, "ostrack") for pair in pairs)
    assert otb.measures["P"] == (1 + 1 / 4) / 2
    got10k = mean_score(
        score_sequence(*pair, benchmark="got10k", cover=np.ones(len(pair[0])), size_wh=(200, 200)) for pair in pairs
    )
    assert got10k.measures["AO"] == 1 / 4  # one of four frames
    assert got10k.curves["success"][0] == 1 / 4
    assert got10k.weight == 4


def test_a_sequence_without_a_number_is_left_out_of_the_mean() -> None:
    parts = [score([BOX], [NOTHING], "ostrack"), score([BOX], [BOX], "ostrack")]
    assert np.isnan(parts[0].measures["AO"])
    assert mean_score(parts).measures["AO"] == 1
    assert np.isnan(mean_score(parts[:1]).measures["AO"])


def test_a_mean_needs_scores_of_one_kind() -> None:
    with pytest.raises(InputError, match="there are no scores"):
        mean_score([])
    with pytest.raises(InputError, match="different protocols"):
        mean_score([score([BOX], [BOX], "ostrack"), score([BOX], [BOX], "pysot")])


def test_speed_by_protocol() -> None:
    seconds = [[0.1], [0.5, 0.25]]
    assert mean_speed(seconds, protocol="ostrack", benchmark="otb") == pytest.approx(3 / 0.85)
    assert mean_speed(seconds, protocol="got10k", benchmark="got10k") == pytest.approx((10 + 2 + 4) / 3)
    assert mean_speed(seconds, protocol="got10k", benchmark="otb") == pytest.approx((10 + 3) / 2)
    for protocol in PROTOCOLS:
        assert np.isnan(mean_speed([], protocol=protocol, benchmark="otb"))


# --- long-term ---


def test_long_term_of_boxes() -> None:
    """Three frames after the first, in the last of which the target is absent; the tracker is right in the others."""
    predictions, truths = [[BOX, BOX, BOX, AWAY]], [[BOX, BOX, BOX, [NAN] * 4]]
    found = score_long_term(predictions, truths, [[1.0, 0.9, 0.8, 0.2]], [None], benchmark="vot")
    # the first frame has no overlap, but the target was there: two of three
    assert found.best == pytest.approx((1, 2 / 3, 0.8))
    hidden = score_long_term(
        predictions, truths, [[1.0, 0.9, 0.8, 0.2]], [[True, True, False, True]], benchmark="lasot"
    )
    assert hidden.best == pytest.approx((1, 1 / 2, 2 / 3))
    # what a user did not annotate says nothing, sure as the tracker may be
    own = score_long_term(predictions, truths, [[1.0, 0.9, 0.8, 0.9]], [None], benchmark="folder")
    assert own.best == pytest.approx((1, 2 / 3, 0.8))
