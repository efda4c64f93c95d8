"""Networks and trackers that are copied, pickled, printed and used in other processes."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.engines.conftest import Toy

import singletrack
from singletrack.datasets.synthetic.clips import generate_clip
from singletrack.engines.onnx_engine import ONNXRuntimeNetwork
from singletrack.engines.openvino_engine import OpenVINONetwork
from singletrack.engines.torch_engine import TorchNetwork
from singletrack.errors import SingletrackError

TEMPLATE = np.ones((1, 3, 4, 4), np.float32)
CLIP = list(generate_clip(4, (160, 120)))


@pytest.fixture(params=["openvino", "onnx", "torch"])
def network(request: pytest.FixtureRequest, toy_file: Path) -> Any:
    if request.param == "torch":
        return TorchNetwork(Toy(), "cpu")
    return (OpenVINONetwork if request.param == "openvino" else ONNXRuntimeNetwork)(toy_file)


def test_a_pickled_network_is_opened_anew(network: Any) -> None:
    again = pickle.loads(pickle.dumps(network))
    assert again is not network
    np.testing.assert_array_equal(np.asarray(again.encode(TEMPLATE)), np.asarray(network.encode(TEMPLATE)))


def test_a_deep_copy_shares_the_network(network: Any) -> None:
    assert copy.deepcopy({"network": network})["network"] is network


def test_repr_is_a_line(network: Any) -> None:
    assert repr(network) in {
        "<OpenVINONetwork on cpu, fp32>",
        "<OpenVINONetwork on cpu, bf16>",
        "<ONNXRuntimeNetwork on cpu, fp32>",
        "<TorchNetwork on cpu, fp32>",
    }


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_a_forked_process_is_told_at_once(network: Any) -> None:
    network.encode(TEMPLATE)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # no test may go on here
        try:
            network.encode(TEMPLATE)
            os.write(writing, b"it worked")
        except SingletrackError as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    said = os.read(reading, 1000).decode()
    assert "process forked from the one that used it" in said
    assert "multiprocessing.get_context('spawn')" in said


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_opening_openvino_in_a_fork_of_a_process_that_used_it(toy_file: Path) -> None:
    OpenVINONetwork(toy_file)
    child = os.fork()
    if child == 0:
        try:
            OpenVINONetwork(toy_file)
        except SingletrackError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def follow_on(tracker: Any) -> Any:
    """What a spawned process does with a tracker that it is handed."""
    return tracker.update(CLIP[2][0])


def test_a_tracker_goes_on_in_a_spawned_process() -> None:
    tracker = singletrack.load(threads=1)
    tracker.init(*CLIP[0])
    tracker.update(CLIP[1][0])
    copied = copy.deepcopy(tracker)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.apply(follow_on, (tracker,))
    here = tracker.update(CLIP[2][0])
    assert there.box == pytest.approx(here.box, abs=1e-3)
    assert copied.update(CLIP[2][0]) == here  # the copy was not moved by the other
    assert repr(tracker).startswith("<LongTermTracker of <OSTrackTracker with <OpenVINONetwork on cpu, ")
    assert repr(tracker).endswith(", following>>")


def test_many_targets_are_pickled_and_copied() -> None:
    targets = singletrack.MultiTracker(singletrack.load(threads=1))
    targets.add(*CLIP[0])
    targets.add(CLIP[0][0], list(CLIP[0][1]))
    targets.update(CLIP[1][0])
    again, copied = pickle.loads(pickle.dumps(targets)), copy.deepcopy(targets)
    expected = targets.update(CLIP[2][0])
    for other in (again, copied):
        found = other.update(CLIP[2][0])
        assert [result.box for result in found.values()] == [
            pytest.approx(result.box, abs=1e-3) for result in expected.values()
        ]
    assert repr(targets).startswith("<MultiTracker of 2 targets, each a <LongTermTracker")


def test_torch_features_survive() -> None:
    tracker = TorchNetwork(Toy(), "cpu")
    features = tracker.encode(TEMPLATE)
    assert isinstance(features, torch.Tensor)
    assert torch.equal(pickle.loads(pickle.dumps(features)), features)
