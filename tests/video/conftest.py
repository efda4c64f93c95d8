from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray


@pytest.fixture
def make_video(tmp_path: Path) -> Callable[..., Path]:
    """Writes `count` frames of 64 x 48 noise (or `frame`, over and over) straight through PyAV."""

    def make(
        name: str = "clip.mp4",
        *,
        count: int = 30,
        frame: NDArray[np.uint8] | None = None,
        degrees: float = 0,
        mirrored: bool = False,
        options: dict[str, str] | None = None,
        codec: str = "libx264",
    ) -> Path:
        random = np.random.default_rng(0)
        path = tmp_path / name
        with av.open(str(path), "w", options=options or {"movflags": "+faststart"}) as container:
            stream: Any = container.add_stream(codec, rate=30)
            stream.pix_fmt, stream.codec_context.gop_size = "yuv420p", 10
            stream.set_display_rotation(degrees, hflip=mirrored)
            stream.width, stream.height = 64, 48
            for _ in range(count):
                pixels = random.integers(0, 255, (48, 64, 3), np.uint8) if frame is None else frame
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode(None))
        return path

    return make


@pytest.fixture
def web_server(tmp_path: Path) -> Iterator[str]:
    """Serves tmp_path; gives its URL."""

    class QuietHandler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def handle(self) -> None:  # a reader may well hang up before the end of the file
            try:
                super().handle()
            except ConnectionError:
                self.close_connection = True

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(tmp_path))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
