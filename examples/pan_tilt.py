"""Turns a camera after its target: reads JSON lines of `singletrack track --pan-tilt`, and gives speeds for its motors.

    singletrack track rtsp://camera/stream --box 280,150,80,60 --save-boxes - --pan-tilt | python examples/pan_tilt.py

Speeds go to standard output as "pan tilt", -1 to 1 of the fastest, as ONVIF's ContinuousMove takes them: right and up
are positive. Replace ``move`` by a call to your camera. While the target is lost, the camera stands still.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

STRENGTH = 0.8  # speed for a target at the edge of the frame
BRAKE = 0.15  # of the change since the last line, in seconds: without it, a slow camera swings past its target
CALM = 0.05  # nearer to the center than this, the camera stands still


@dataclass
class Axis:
    """A controller for one motor: proportional, with a brake."""

    last: float | None = None

    def speed(self, error: float, seconds: float) -> float:
        """Give the speed for an error, -1 to 1, that many seconds after the last one."""
        change = 0.0 if self.last is None or seconds <= 0 else (error - self.last) / seconds
        self.last = error
        if abs(error) < CALM:
            return 0.0
        return max(-1.0, min(1.0, STRENGTH * error + BRAKE * change))


def move(pan: float, tilt: float) -> None:
    """Turn the camera: replace this."""
    print(f"{pan:.3f} {tilt:.3f}", flush=True)


def main() -> None:
    """Read lines until there are no more."""
    pan, tilt, last = Axis(), Axis(), None
    for line in sys.stdin:
        result = json.loads(line)
        seconds = 0.0 if last is None else result["time"] - last
        last = result["time"]
        if result["lost"]:
            pan.last = tilt.last = None
            move(0.0, 0.0)
        else:
            move(pan.speed(result["pan"], seconds), tilt.speed(result["tilt"], seconds))


if __name__ == "__main__":
    main()
