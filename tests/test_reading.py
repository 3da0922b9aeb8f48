"""Reading many images: in any number of processes, with bounded memory, onto a disk that may be full."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil
import pytest
from PIL import Image

from imagewright.data.decoding import Form
from imagewright.data.findings import RECORD
from imagewright.data.parallel import in_processes
from imagewright.data.reading import Reading, Staging, read_images
from imagewright.errors import DataError

Images = npt.NDArray[np.uint8]


def drawn(*shape: int, seed: int = 0) -> Images:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def read(raws: list[object], path: Path, form: Form, processes: int | None) -> tuple[Reading, Images]:
    shape = (len(raws), form.height, form.width, form.channels)
    reading = Reading(np.zeros(len(raws), RECORD))
    with Staging(path, shape, create=True) as staging:
        assert sum(
            reading.add(portion) for portion in read_images(iter(raws), staging, form, processes=processes)
        ) == len(  # type: ignore[arg-type]
            raws
        )
        return reading, staging.rows(range(len(raws)))


@pytest.fixture(scope="module")
def raws(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """Files, contents and arrays, some of them broken."""
    folder = tmp_path_factory.mktemp("images")
    mixed: list[object] = []
    for index in range(300):
        pixels = drawn(20, 24, 3, seed=index)
        path = folder / f"{index} ü.png"
        Image.fromarray(pixels).save(path)
        mixed.append([str(path), path.read_bytes(), pixels, str(folder / "missing.png")][index % 4])
    return mixed


@pytest.mark.parametrize("processes", [None, 1, 2])
def test_the_pixels_and_the_records_do_not_depend_on_the_number_of_processes(
    raws: list[object], tmp_path: Path, processes: int | None
) -> None:
    reading, images = read(raws, tmp_path / "rows", Form(20, 24, 3), processes)
    for index in range(300):
        if index % 4 == 3:
            assert reading.refused[index].reason == "not readable"
            continue
        expected = drawn(20, 24, 3, seed=index)
        np.testing.assert_array_equal(images[index], expected)
        record = reading.records[index]
        assert record["sha256"].tobytes() == hashlib.sha256(expected.tobytes()).digest()
        assert record["brightness"] == pytest.approx(expected.mean(), rel=1e-5)
        assert (record["height"], record["width"]) == (20, 24)
        assert record["format"] == (b"array" if index % 4 == 2 else b"PNG")
    assert len(reading.refused) == 75
    first, _ = read(raws, tmp_path / "again", Form(20, 24, 3), 1)
    np.testing.assert_array_equal(first.records, reading.records)


def test_the_images_are_taken_only_as_they_can_be_worked_on(tmp_path: Path) -> None:
    taken = 0

    def source() -> Iterator[Images]:
        nonlocal taken
        for _ in range(40 * 256):
            taken += 1
            yield np.zeros((8, 8), np.uint8)

    with Staging(tmp_path / "rows", (40 * 256, 8, 8, 1), create=True) as staging:
        done = 0
        for portion in read_images(source(), staging, Form(8, 8, 1), processes=2):
            done += len(portion.records)
            assert taken - done <= 6 * 256
    assert done == taken == 40 * 256


def test_a_process_that_dies_is_named_with_the_images_it_worked_on(tmp_path: Path) -> None:
    class Deadly:
        def __reduce__(self) -> tuple[object, tuple[int]]:
            return os._exit, (3,)

    raws: list[object] = [drawn(8, 8), Deadly(), drawn(8, 8)]
    with (
        Staging(tmp_path / "rows", (3, 8, 8, 1), create=True) as staging,
        pytest.raises(DataError, match=r"ended without a word .* images 0 to 2"),
    ):
        list(read_images(iter(raws), staging, Form(8, 8, 1), processes=2))  # type: ignore[arg-type]


def test_fewer_channels_keep_the_first_ones(tmp_path: Path) -> None:
    images = drawn(700, 9, 7, 3)
    with Staging(tmp_path / "rows", (700, 9, 7, 3), create=True) as staging:
        staging.write(0, images)
        staging.keep_channels(1)
        np.testing.assert_array_equal(staging.rows(range(700)), images[..., :1])
        np.testing.assert_array_equal(np.concatenate(list(staging.portions())), images[..., :1])
        assert staging.shape == (700, 9, 7, 1)


def test_a_disk_without_room_is_noticed_when_the_file_is_made(tmp_path: Path) -> None:
    code = (
        "import resource, pathlib, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))\n"
        "from imagewright.data.reading import Staging\n"
        f"from imagewright.errors import DataError\n"
        f"try: Staging(pathlib.Path({str(tmp_path / 'rows')!r}), (1000, 64, 64, 3), create=True)\n"
        "except DataError as error: sys.exit(str(error))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the disk is full" in done.stderr
    assert "data.image_size" in done.stderr
    assert "Traceback" not in done.stderr


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def test_processes_end_with_a_parent_that_is_killed() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_reading\n"
        "from imagewright.data.parallel import in_processes\n"
        "if __name__ == '__main__':\n"
        "    print('begun', flush=True)\n"
        "    for seconds in in_processes(test_reading.nap, [0.01, 0.01, *[600.0] * 9], processes=2, initializer=dict,\n"
        "                                arguments=()):\n"
        "        print(seconds, flush=True)\n"
    )
    script = Path(__file__).parent
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    with process:
        lines = [process.stdout.readline() for _ in range(3)]
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
    assert lines[1:] == ["0.01\n", "0.01\n"]
    assert len(children) >= 2
    gone, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []
    assert len(gone) == len(children)


def test_the_results_of_all_tasks_come() -> None:
    results = list(
        in_processes(nap, [0.001 * number for number in range(20)], processes=2, initializer=dict, arguments=())
    )
    assert sorted(results) == [0.001 * number for number in range(20)]
