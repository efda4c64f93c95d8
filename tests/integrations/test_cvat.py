"""CVAT's tracking function, driven by the code of CVAT's own agent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.tools import need

from singletrack.errors import InputError
from singletrack.geometry.boxes import iou
from singletrack.integrations import cvat

if TYPE_CHECKING:
    from tests.integrations.conftest import Moving

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def function(tracker: Any) -> cvat.CVATTracker:
    need("cvat_sdk.auto_annotation")
    return cvat.CVATTracker(tracker)


def test_the_agent_tracks_many_shapes(
    function: cvat.CVATTracker, moving: Moving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ``cvat-cli function run-agent`` does for the requests "init_tracking" and "track"."""
    annotation, driver = need("cvat_sdk.auto_annotation"), need("cvat_cli._internal.agent_driver_tracking")
    pil = need("PIL.Image")
    monkeypatch.setattr(driver, "worker_current_function", lambda: function)
    numbers = iter(range(100))
    driver.AgentTrackingFunctionDriver.init_worker(lambda: str(next(numbers)))
    assert driver.AgentTrackingFunctionDriver.get_remote_function_fields(function.spec) == {
        "supported_shape_types": ["rectangle"]
    }
    shapes = [
        annotation.TrackableShape(type="rectangle", points=[x, y, x + width, y + height])
        for x, y, width, height in moving.boxes[0]
    ]
    states = driver._worker_job_init_tracking(7, pil.fromarray(moving.frames[0]), shapes)
    assert len(set(states)) == 2
    for frame, boxes in zip(moving.frames[1:], moving.boxes[1:], strict=True):
        found = driver._worker_job_track(7, pil.fromarray(frame), states)
        for shape, box in zip(found, boxes, strict=True):
            left, top, right, bottom = shape.points
            assert iou((left, top, right - left, bottom - top), box) > 0.6


def test_the_cli_finds_and_makes_the_function() -> None:
    loader = need("cvat_cli._internal.common").FunctionLoader
    function = loader(
        function_module="singletrack.integrations.cvat", function_file=None, function_parameters={"threads": 1}
    ).load()
    assert isinstance(function, cvat.CVATTracker)
    assert function.spec.supported_shape_types == {"rectangle"}


def test_targets_share_the_network_and_nothing_else(function: cvat.CVATTracker, moving: Moving) -> None:
    annotation = need("cvat_sdk.auto_annotation")
    shapes = [
        annotation.TrackableShape(type="rectangle", points=[x, y, x + width, y + height])
        for x, y, width, height in moving.boxes[0]
    ]
    together = [function.init_tracking_state(None, moving.frames[0], shape) for shape in shapes]
    alone = function.init_tracking_state(None, moving.frames[0], shapes[1])
    assert together[0].network is together[1].network  # type: ignore[attr-defined]
    for frame in moving.frames[1:4]:
        both = [function.track(None, frame, state) for state in together]
        np.testing.assert_allclose(both[1].points, function.track(None, frame, alone).points, atol=1e-3)


def test_a_lost_target_is_no_shape(function: cvat.CVATTracker, moving: Moving) -> None:
    class Lost:
        def update(self, frame: object) -> Any:
            from singletrack import Result

            return Result(box=(1, 1, 5, 5), score=0.1, lost=True)

    assert function.track(None, moving.frames[0], Lost()) is None  # type: ignore[arg-type]


def test_shapes_stay_in_the_picture(function: cvat.CVATTracker, moving: Moving) -> None:
    class Beyond:
        def update(self, frame: object) -> Any:
            from singletrack import Result

            return Result(box=(-10, 200, 50, 80), score=0.9, lost=False)

    assert function.track(None, moving.frames[0], Beyond()).points == [0, 200, 40, 240]  # type: ignore[arg-type]


def test_an_empty_rectangle_is_refused(function: cvat.CVATTracker, moving: Moving) -> None:
    shape = need("cvat_sdk.auto_annotation").TrackableShape(type="rectangle", points=[10, 10, 10, 20])
    with pytest.raises(InputError, match="width and height"):
        function.init_tracking_state(None, moving.frames[0], shape)


def test_without_the_sdk_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from singletrack import engines
    from singletrack.errors import MissingDependencyError

    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="pip install cvat-sdk cvat-cli"):
        cvat.create()
