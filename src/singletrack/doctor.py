"""Checks the installation and collects the facts for a bug report, without changing anything."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import itertools
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from singletrack import cache, loading, opencv
from singletrack.datasets.synthetic.clips import generate_clip
from singletrack.engines import ENGINES, installed_engines
from singletrack.engines.cpu import allowed_cores, processor_name, usable_cores
from singletrack.geometry.boxes import iou
from singletrack.telemetry import without_telemetry

Facts = dict[str, Any]

MODEL = "ostrack-tiny"
PACKAGES = (
    *("numpy", *opencv.PACKAGES, "av", "openvino", "onnx", "onnxruntime", "onnxruntime-gpu", "torch"),
    *("safetensors", "tensorrt", "nncf", "click", "tqdm"),
)
# environment variables that set threads or visible devices
VARIABLES = ("OMP_", "KMP_", "MKL_NUM", "OPENBLAS_", "OV_", "ORT_", "CUDA_VISIBLE", "PYTORCH_", "SINGLETRACK_")
EXTENSIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "bf16", "i8mm", "sve")
FRAMES = 30  # length of the generated clip, which is played forward and backward
LEAST_OVERLAP = 0.6  # with the true boxes of this clip; a working model exceeds 0.8


def examine(*, seconds: float = 5.0) -> Facts:
    """Collect all facts in reading order, as numbers, strings, lists and dictionaries.

    Args:
        seconds: time limit of the speed check, for all engines together; 0 skips it.

    Returns:
        The facts. Failures are recorded under "error" or as "damaged", and listed under "faults".
    """
    facts: Facts = {
        "singletrack": importlib.metadata.version("singletrack"),
        "python": f"{platform.python_version()} at {sys.executable}",
        "system": platform.platform(),
        "processor": examine_processor(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "opencv": examine_opencv(),
        "variables": {name: value for name, value in sorted(os.environ.items()) if name.startswith(VARIABLES)},
        "engines": {name: examine_engine(name) for name in ENGINES},
        "weights": examine_weights(),
        "cache": examine_cache(cache.cache_folder()),
    }
    if seconds > 0 and "error" not in facts["opencv"]:
        facts["speed"] = measure_speed(seconds)
    facts["faults"] = list(find_faults(facts))
    return facts


def examine_processor() -> Facts:
    """Return the CPU name, its relevant instruction sets, and its cores: of the machine, and for this process."""
    info = Path("/proc/cpuinfo")
    words = set(info.read_text(encoding="utf-8").split()) if info.exists() else set()
    facts: Facts = {
        "name": processor_name(),
        "extensions": [word for word in EXTENSIONS if word in words] or "unknown on this system",
        "cores": os.cpu_count(),
        "cores allowed": allowed_cores(),
        "cores usable": usable_cores(),
    }
    if hasattr(os, "getloadavg"):
        facts["load"] = round(os.getloadavg()[0], 1)
    return facts


def examine_opencv() -> Facts:
    """Return the location of the module cv2, whether it works, and whether several packages share it."""
    module = opencv.load()
    if isinstance(module, opencv.MissingOpenCV):
        return {"error": module.problem}
    facts: Facts = {"version": module.__version__, "folder": str(Path(module.__file__).parent)}
    conflict = opencv.find_conflict()
    return facts if conflict is None else {**facts, "note": conflict}


def examine_engine(name: str) -> Facts:
    """Return whether an engine is installed and can be imported, its devices, and the precisions of each."""
    if name not in installed_engines():
        return {"installed": False, "install": ENGINES[name][1]}
    try:
        return {"installed": True, "devices": _DEVICES[name]()}
    except Exception as error:  # any failure belongs into the bug report
        return {"installed": True, "error": _in_one_line(error)}


def examine_weights() -> dict[str, str]:
    """Check the bundled files against the hashes of the installed package, or return their hashes."""
    try:
        listed = {Path(str(file)).name: file for file in importlib.metadata.files("singletrack") or []}
    except importlib.metadata.PackageNotFoundError:
        listed = {}
    found = {}
    for suffix in (".onnx", ".safetensors"):
        name = f"{MODEL}{suffix}"
        try:
            digest = hashlib.sha256(loading.bundled_file(MODEL, suffix).read_bytes()).digest()
        except (OSError, ValueError) as error:
            found[name] = f"damaged: {_in_one_line(error)}"
            continue
        told = listed[name].hash if name in listed else None
        said = f"sha256 {digest.hex()[:16]}"
        if told is None:
            found[name] = f"{said}, unlisted (installed for development)"
        elif told.value == base64.urlsafe_b64encode(digest).rstrip(b"=").decode():
            found[name] = f"{said}, as packaged"
        else:
            found[name] = f"damaged: {said} differs from the package; install singletrack again"
    return found


def examine_cache(folder: Path) -> Facts:
    """Return the location and size of cached exports and compiled models."""
    files = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
    above = next(path for path in (folder, *folder.parents) if path.exists())
    return {
        "folder": str(folder),
        "files": len(files),
        "megabytes": round(sum(path.stat().st_size for path in files) / 1e6, 1),
        "writable": os.access(above, os.W_OK),
    }


def measure_speed(seconds: float) -> dict[str, Facts]:
    """Track a generated clip of 640 x 360 with the bundled model on each installed engine, with equal time limits.

    Returns, for each engine, "load seconds" including the import, "frames/s" from the median update, "overlap" with the
    true boxes, and "difference", the largest one of the boxes to the first engine, in pixels.
    """
    engines = installed_engines()
    clip = list(generate_clip(frames=FRAMES))
    measured: dict[str, Facts] = {}
    reference: np.ndarray[Any, Any] | None = None
    for engine in engines:
        try:
            measured[engine], boxes = _follow_for(engine, clip, seconds / len(engines))
        except Exception as error:  # as above
            measured[engine] = {"error": _in_one_line(error)}
            continue
        reference = boxes if reference is None else reference
        measured[engine]["difference"] = round(float(np.abs(boxes - reference).max()), 3)
    return measured


def find_faults(facts: Facts) -> Iterable[str]:
    """List what does not work, one line each."""
    if "error" in facts.get("opencv", {}):
        yield facts["opencv"]["error"]
    for part in ("engines", "speed"):
        for name, engine in facts.get(part, {}).items():
            if "error" in engine:
                yield f"engine {name}: {engine['error']}"
    for name, state in facts["weights"].items():
        if state.startswith("damaged"):
            yield f"{name}: {state}"
    if not any(engine["installed"] for engine in facts["engines"].values()):
        yield "no engine is installed"
    for name, engine in facts.get("speed", {}).items():
        if engine.get("overlap", 1.0) < LEAST_OVERLAP:
            yield f"engine {name}: tracks the generated clip with an overlap of only {engine['overlap']}"


def format_facts(facts: Mapping[str, Any], indent: str = "") -> str:
    """Format the facts as text, one per line, nested ones indented."""
    lines = []
    for name, value in facts.items():
        if isinstance(value, Mapping) and any(isinstance(each, Mapping) for each in value.values()):
            lines += [f"{indent}{name}", format_facts(value, indent + "  ")]
        elif isinstance(value, Mapping) and indent:
            inner = ", ".join(f"{key} {_in_words(each)}" for key, each in value.items())
            lines.append(f"{indent}{name}: {inner or 'none'}")
        elif isinstance(value, Mapping) and value:
            lines += [f"{indent}{name}", format_facts(value, indent + "  ")]
        else:
            lines.append(f"{indent}{name}: {_in_words(value)}")
    return "\n".join(lines)


# --- engines -------------------------------------------------------------------------------------------------------


def _openvino_devices() -> dict[str, list[str]]:
    from singletrack.engines.openvino_engine import CORE

    wanted = ("FP32", "BF16", "FP16", "INT8")
    return {
        f"{device} ({CORE.get_property(device, 'FULL_DEVICE_NAME').strip()})": [
            word for word in wanted if word in CORE.get_property(device, "OPTIMIZATION_CAPABILITIES")
        ]
        for device in CORE.available_devices
    }


def _onnx_devices() -> list[str]:
    with without_telemetry():
        onnxruntime = import_module("onnxruntime")
    providers: list[str] = onnxruntime.get_available_providers()
    return [name.removesuffix("ExecutionProvider").lower() for name in providers if not name.startswith("Azure")]


def _torch_devices() -> dict[str, list[str]]:
    from singletrack.engines.torch_engine import find_device, known_precisions

    torch = import_module("torch")
    names = {"cpu": f"cpu ({torch.get_num_threads()} threads)"}
    names |= {f"cuda:{i}": f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())}
    if torch.backends.mps.is_available():
        names["mps"] = "mps"
    return {
        shown: [each for each in known_precisions(find_device(name)) if each != "auto"] for name, shown in names.items()
    }


_DEVICES: dict[str, Callable[[], Any]] = {"openvino": _openvino_devices, "onnx": _onnx_devices, "torch": _torch_devices}


def _follow_for(engine: str, clip: list[Any], seconds: float) -> tuple[Facts, np.ndarray[Any, Any]]:
    """Return the measurements of one engine, and the boxes of the clip."""
    began = time.perf_counter()
    tracker = loading.load(MODEL, engine=engine)
    loaded = time.perf_counter()
    tracker.init(*clip[0])
    boxes = np.array([tracker.update(frame).box for frame, _ in clip[1:]])
    truth = np.array([box for _, box in clip[1:]])
    times: list[float] = []
    forth_and_back = itertools.cycle([frame for frame, _ in [*clip[::-1], *clip]])
    while not times or time.perf_counter() - began < seconds:
        frame = next(forth_and_back)
        start = time.perf_counter()
        tracker.update(frame)
        times.append(time.perf_counter() - start)
    facts = {
        "device": str(getattr(tracker.network, "device", "unknown")).lower(),
        "precision": getattr(tracker.network, "precision", "fp32"),
        "load seconds": round(loaded - began, 2),
        "frames/s": round(1 / median(times), 1),
        "overlap": round(float(iou(boxes, truth).mean()), 3),
    }
    return facts, boxes


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _in_one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_in_words(each)}" for key, each in value.items()) or "none"
    return str(value)
