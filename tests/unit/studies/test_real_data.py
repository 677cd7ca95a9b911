"""Real data in folders: small files of each form, written here, and broken ones."""

from __future__ import annotations

import pickle
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from onnxbf.errors import DataError
from onnxbf.studies.bf16 import Bf16
from onnxbf.studies.cifar import open_cifar
from onnxbf.studies.click_log import open_click_log
from onnxbf.studies.real_data import open_folder
from onnxbf.studies.speech import SAMPLES
from onnxbf.studies.study import Effort
from onnxbf.studies.task import LABELS
from onnxbf.studies.wav_folder import open_wav_folder, read_wav

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (80, 3072), dtype=np.uint8)
CLASSES = np.arange(80, dtype=np.uint8) % 10
LINE = "\t".join(["1", *"0123456789", "", "-4", "200", *(f"{n:08x}" for n in range(26))])


def write_binary(folder: Path) -> None:
    rows = np.concatenate([CLASSES[:, None], PIXELS], axis=1)
    for name, part in (("data_batch_1", rows[:32]), ("data_batch_2", rows[32:64])):
        part.tofile(folder / f"{name}.bin")
    rows[64:].tofile(folder / "test_batch.bin")


def write_python(folder: Path) -> None:
    parts = {"data_batch_1": slice(64), "test_batch": slice(64, None)}
    for name, part in parts.items():
        batch = {b"data": PIXELS[part], b"labels": CLASSES[part].tolist()}
        (folder / name).write_bytes(pickle.dumps(batch))


def write_wav(path: Path, samples: np.ndarray, rate: int = 16_000, channels: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())


def write_speakers(folder: Path) -> None:
    time = np.arange(8 * 2 * SAMPLES) / 16_000
    for speaker, pitch in (("19", 120), ("26", 210)):
        for utterance in range(6):
            path = folder / speaker / "198" / f"{speaker}-198-{utterance:04}.wav"
            write_wav(path, 0.5 * np.sin(2 * np.pi * (pitch + utterance) * time))


def write_clicks(folder: Path) -> None:
    lines = [LINE.replace("1", str(n % 2), 1).replace("\t5\t", f"\t{n}\t") for n in range(200)]
    (folder / "day_0.tsv").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("write", [write_binary, write_python])
def test_cifar(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path)
    task = open_cifar(tmp_path)
    assert task.training["x"].shape == (64, 3, 32, 32) and task.testing["x"].shape[0] == 16
    np.testing.assert_array_equal(task.training[LABELS], CLASSES[:64])
    # A row: 1,024 red, then green, then blue, each by rows of the image.
    assert task.training["x"][5, 1, 2, 3] == pytest.approx(PIXELS[5, 1024 + 2 * 32 + 3] / 255)


def test_speakers(tmp_path: Path) -> None:
    write_speakers(tmp_path)
    task = open_wav_folder(tmp_path)
    assert len(task.training[LABELS]) == 2 * 5 * 8 and len(task.testing[LABELS]) == 2 * 8
    assert {*task.testing[LABELS]} == {0, 1}
    assert task.training["x"].shape[1:] == (25, 24)
    assert task.training["x"].mean() == pytest.approx(0, abs=1e-4)


def test_recordings_come_to_8_khz_and_one_channel(tmp_path: Path) -> None:
    both = np.stack([np.full(100, 0.5), np.full(100, 0.1)], axis=1)
    write_wav(tmp_path / "a.wav", both, 24_000, 2)
    np.testing.assert_allclose(read_wav(tmp_path / "a.wav"), np.full(33, 0.3), atol=1e-4)


def test_clicks(tmp_path: Path) -> None:
    write_clicks(tmp_path)
    task = open_click_log(tmp_path)
    assert task.training["x"].shape == (160, 13) and task.testing["fields"].shape == (40, 26)
    row = task.training["x"][7]
    np.testing.assert_allclose(
        row[[0, 5, 10, 11, 12]], [0, np.log(8), 0, -np.log(5), np.log(201)], rtol=1e-6
    )
    assert task.training[LABELS][:4, 0].tolist() == [0, 1, 0, 1]
    assert (task.training["fields"] // 1000 == np.arange(26)).all()


@pytest.mark.parametrize(
    ("write", "networks", "floor"),
    [
        (write_binary, ["residual", "alexnet"], 0.25),
        (write_speakers, ["speech"], 0.75),
        (write_clicks, ["deep-cross", "deep"], 0.6),
    ],
)
def test_a_folder_chooses_its_networks_which_train(
    tmp_path: Path, write: Callable[[Path], None], networks: list[str], floor: float
) -> None:
    write(tmp_path)
    study = Bf16(data=str(tmp_path))
    assert [subject.name for subject in study.chosen()] == networks
    assert [claim.name.split()[0] for claim in study.judged()][::2] == networks
    assert study.chosen()[0].floors[0].limit == pytest.approx(floor)
    (row,) = study.cells(Effort(1))[1].rows()
    assert row["recipe"] == "bf16" and np.isfinite(float(row["score"]))


def _cut(folder: Path) -> None:
    write_binary(folder)
    path = folder / "data_batch_2.bin"
    path.write_bytes(path.read_bytes()[:-1])


def _untested(folder: Path) -> None:
    write_binary(folder)
    (folder / "test_batch.bin").unlink()


def _eleventh_class(folder: Path) -> None:
    write_binary(folder)
    path = folder / "data_batch_1.bin"
    path.write_bytes(bytes([10]) + path.read_bytes()[1:])


def _other_pickle(folder: Path) -> None:
    write_python(folder)
    (folder / "data_batch_1").write_bytes(pickle.dumps({b"data": Path}))


def _no_pickle(folder: Path) -> None:
    write_python(folder)
    (folder / "test_batch").write_bytes(b"")


def _one_speaker(folder: Path) -> None:
    write_wav(folder / "19" / "a.wav", np.zeros(20_000))


def _one_file(folder: Path) -> None:
    write_speakers(folder)
    write_wav(folder / "32" / "a.wav", np.zeros(20_000))


def _odd_rate(folder: Path) -> None:
    write_speakers(folder)
    write_wav(folder / "19" / "198" / "19-198-0000.wav", np.zeros(20_000), 22_050)


def _short(folder: Path) -> None:
    write_speakers(folder)
    write_wav(folder / "19" / "198" / "19-198-0000.wav", np.zeros(1600))


def _no_wave(folder: Path) -> None:
    write_speakers(folder)
    (folder / "19" / "198" / "19-198-0000.wav").write_text("RIFF")


def _columns(folder: Path) -> None:
    (folder / "a.tsv").write_text(f"{LINE}\n{LINE}\tmore\n")


def _click(folder: Path) -> None:
    (folder / "a.tsv").write_text("2" + LINE[1:])


def _letters(folder: Path) -> None:
    (folder / "a.tsv").write_text(LINE.replace("\t200\t", "\ttwo\t"))


def _few(folder: Path) -> None:
    (folder / "a.tsv").write_text(LINE)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda folder: None, "holds no data for a study: expected CIFAR's"),
        (_cut, r"data_batch_2\.bin' is no CIFAR-10 batch: expected a number of bytes that 3073"),
        (_untested, r"lacks test_batch\.bin"),
        (_eleventh_class, r"data_batch_1\.bin' has label 10: expected 0 to 9"),
        (_other_pickle, r"data_batch_1' is no CIFAR-10 batch: .*pathlib"),
        (_no_pickle, "test_batch' is no CIFAR-10 batch: expected a pickled dictionary"),
        (_one_speaker, "holds one speaker"),
        (_one_file, "Speaker '32' .* has one file"),
        (_odd_rate, r"0000\.wav' has 16 bits at 22050 Hz: expected"),
        (_short, r"lasts 0\.10 s: expected at least 0\.42 s"),
        (_no_wave, r"0000\.wav' is no recording"),
        (_columns, r"Line 2 of .*a\.tsv' has 41 columns: expected 40"),
        (_click, "Line 1 of .* begins with '2': expected a click"),
        (_letters, "Line 1 of .*: expected 13 numbers, or nothing, after the click"),
        (_few, "holds 1 lines: expected at least 5"),
    ],
)
def test_broken_folders(tmp_path: Path, write: Callable[[Path], None], message: str) -> None:
    write(tmp_path)
    with pytest.raises(DataError, match=message):
        open_folder(tmp_path)
