"""kd-score as a person or a program uses it."""

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exported import digits, fitted_package
from PIL import Image

from kd_models.data import OneClassData, read_image, to_model_input
from kd_models.export.packaged import export
from kd_models.package import Package
from kd_score.command import main
from kd_score.detector import CONFIG, INT8_MODEL, MODEL, SUMS, write_sums


@pytest.fixture(scope="module")
def data() -> OneClassData:
    return digits()


@pytest.fixture(scope="module")
def whole(data: OneClassData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "package"
    export(fitted_package(data), data, folder)
    return folder


@pytest.fixture
def detector(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "detector"))


@pytest.fixture
def images(data: OneClassData, tmp_path: Path) -> Path:
    """A normal image, two novel ones and something else."""
    folder = tmp_path / "images"
    folder.mkdir()
    pixels = ((data.test[:, 0] + 1) * 127.5).round().to(torch.uint8).numpy()
    normal = int(torch.nonzero(~data.novel)[0])
    for name, place in {"a.png": normal, "b.png": 0, "c.bmp": 1}.items():
        Image.fromarray(pixels[place]).resize((50, 40)).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    return folder


Capture = pytest.CaptureFixture[str]


def rows(output: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(output)))


def by_pytorch(detector: Path, file: Path) -> float:
    image = to_model_input([read_image(file)], image_size=32, channels=1)
    return float(Package.load(detector).score(image)[0])


def test_a_folder_is_scored_as_pytorch_does(detector: Path, images: Path, capsys: Capture) -> None:
    code = main([str(detector), str(images)])
    found = rows(capsys.readouterr().out)
    assert [Path(row["image"]).name for row in found] == ["a.png", "b.png", "c.bmp"]
    threshold = Package.load(detector).config.threshold
    for row in found:
        expected = by_pytorch(detector, Path(row["image"]))
        assert float(row["score"]) == pytest.approx(expected, rel=1e-4)
        assert row["verdict"] == ("novel" if expected >= threshold else "normal")
    assert code == any(row["verdict"] == "novel" for row in found)


def test_lines_of_json_hold_every_digit(detector: Path, images: Path, capsys: Capture) -> None:
    main([str(detector), str(images / "b.png"), "--format", "jsonl"])
    (line,) = capsys.readouterr().out.splitlines()
    row = json.loads(line)
    assert list(row) == ["image", "score", "verdict"]
    assert row["score"] == pytest.approx(by_pytorch(detector, images / "b.png"), rel=1e-4)


def test_the_quantised_model_has_a_threshold_of_its_own(
    detector: Path, images: Path, capsys: Capture
) -> None:
    main([str(detector), str(images / "b.png")])
    main([str(detector), str(images / "b.png"), "--int8"])
    exact, small = (
        float(row["score"]) for row in rows(capsys.readouterr().out) if row["score"][0] != "s"
    )
    assert exact != small
    assert exact == pytest.approx(small, rel=0.1)


@pytest.mark.parametrize(("threshold", "code"), [("0", 1), ("1e9", 0)])
def test_somebody_may_set_the_threshold(
    detector: Path, images: Path, capsys: Capture, threshold: str, code: int
) -> None:
    assert main([str(detector), str(images), "--threshold", threshold]) == code
    verdicts = {row["verdict"] for row in rows(capsys.readouterr().out)}
    assert verdicts == ({"novel"} if code else {"normal"})


def test_a_list_is_scored_name_by_name(detector: Path, images: Path) -> None:
    command = [sys.executable, "-m", "kd_score.command", str(detector), "-"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "image,score,verdict\n"
        for name in ("c.bmp", "a.png"):
            process.stdin.write(f"{images / name}\n")
            process.stdin.flush()
            # Before the next one is named.
            assert process.stdout.readline().startswith(f"{images / name},")
        process.stdin.close()
        assert process.wait(30) in (0, 1)


def test_names_may_end_in_nul(detector: Path, images: Path) -> None:
    odd = images / "two\nlines.png"
    shutil.copy(images / "a.png", odd)
    result = subprocess.run(
        [sys.executable, "-m", "kd_score.command", str(detector), "-", "--null"],
        input=f"{odd}\0{images / 'b.png'}\0",
        capture_output=True,
        text=True,
        check=False,
    )
    assert [row["image"] for row in rows(result.stdout)] == [
        str(odd).replace("\n", r"\u000a"),
        str(images / "b.png"),
    ]


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_a_broken_image_stops_or_is_skipped(
    detector: Path, images: Path, capsys: Capture, content: bytes
) -> None:
    (images / "b.png").write_bytes(content)
    assert main([str(detector), str(images)]) == 2
    stopped = capsys.readouterr()
    assert "b.png cannot be read" in stopped.err
    assert len(rows(stopped.out)) == 1
    assert main([str(detector), str(images), "--unreadable", "skip"]) == 2
    skipped = capsys.readouterr()
    assert "warning: skipped: " in skipped.err
    assert "b.png" in skipped.err
    assert len(rows(skipped.out)) == 2


def test_huge_and_deep_images_are_named(detector: Path, images: Path, capsys: Capture) -> None:
    assert main([str(detector), str(images), "--max-megapixels", "0.001"]) == 2
    assert "max_megapixels" in capsys.readouterr().err
    Image.fromarray(np.full((40, 40), 4000, np.uint16)).save(images / "a.png")
    main([str(detector), str(images / "a.png")])
    assert "a.png has 16 bits a sample" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["nothing", "an empty folder", "a missing file", "a detector"])
def test_what_is_wrong_is_said(detector: Path, tmp_path: Path, capsys: Capture, what: str) -> None:
    (tmp_path / "empty").mkdir()
    wrong: dict[str, tuple[list[Any], str]] = {
        "nothing": ([detector, "-"], "no image to score"),
        "an empty folder": ([detector, tmp_path / "empty"], "empty"),
        "a missing file": ([detector, tmp_path / "x.png"], "x.png cannot be read"),
        "a detector": ([tmp_path / "empty", "x.png"], f"{SUMS} is missing"),
    }
    arguments, said = wrong[what]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.StringIO(""))
        assert main([str(argument) for argument in arguments]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("name", [MODEL, INT8_MODEL, CONFIG, "model.safetensors", "README.md"])
def test_a_changed_file_is_refused_by_name(
    detector: Path, images: Path, capsys: Capture, name: str
) -> None:
    content = bytearray((detector / name).read_bytes())
    content[len(content) // 2] ^= 1
    (detector / name).write_bytes(content)
    assert main([str(detector), str(images)]) == 2
    assert f"{name} was changed or is damaged" in capsys.readouterr().err
    (detector / name).unlink()
    assert main([str(detector), str(images)]) == 2
    assert f"{name} is missing" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["{}", "[]", "nonsense", '{"preprocessing": null}'])
def test_a_config_of_another_kind_is_damage(
    detector: Path, images: Path, capsys: Capture, content: str
) -> None:
    (detector / CONFIG).write_text(content)
    write_sums(detector, [MODEL, CONFIG])
    assert main([str(detector), str(images)]) == 2
    assert "config.json is damaged" in capsys.readouterr().err


def test_nothing_heavy_is_imported() -> None:
    heavy = ("torch", "torchvision", "ray", "mlflow", "pydantic", "kd_models", "orchestrator")
    code = f"""
import sys
import kd_score.command, kd_score.detector, kd_score.prepare, onnxruntime
print([name for name in {heavy} if name in sys.modules])
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
