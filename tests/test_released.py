"""The weights that ferjax brings go by their names."""

from __future__ import annotations

from pathlib import Path

import pytest

import ferjax
from ferjax import released
from ferjax.cli.main import main
from ferjax.errors import FerjaxError, WeightFileError


def test_weights_inside_the_package_come_before_those_of_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(released, "__file__", str(tmp_path / "ferjax" / "released.py"))
    with pytest.raises(FerjaxError, match=f"lacks its weights, {released.DEFAULT}.h5; reinstall"):
        released.path_of()
    for folder in (tmp_path, tmp_path / "ferjax"):
        path = folder / "checkpoints" / f"{released.DEFAULT}.h5"
        path.parent.mkdir(parents=True)
        path.touch()
        assert released.path_of() == released.path_of(released.DEFAULT) == path


def test_a_file_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = released.NAMES[0]
    monkeypatch.chdir(tmp_path)
    assert released.path_of(name).is_absolute()
    Path(name).touch()
    assert released.path_of(name) == Path(name)
    assert released.path_of("best.h5") == Path("best.h5")


def test_another_name_is_told_from_a_path() -> None:
    with pytest.raises(WeightFileError, match=r"fer_cnn9: no such file, and none of the weights"):
        released.path_of("fer_cnn9")
    assert released.path_of("fer_cnn9.h5") == Path("fer_cnn9.h5")
    assert released.path_of("runs/fer_cnn9") == Path("runs/fer_cnn9")


@pytest.mark.parametrize("name", released.OTHERS)
def test_weights_that_are_not_installed_are_pointed_to(name: str) -> None:
    assert (Path(__file__).parents[1] / "checkpoints" / f"{name}.h5").is_file()
    with pytest.raises(WeightFileError, match=rf"; checkouts of ferjax have it as .*/{name}\.h5$"):
        released.path_of(name)


def test_what_a_checkpoint_goes_by_is_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.index").touch()
    assert released.path_of("model") == Path("model")
    with pytest.raises(
        WeightFileError, match=r"^model: no such file, but the name of a TensorFlow"
    ):
        ferjax.load("model")


@pytest.mark.parametrize("name", released.NAMES)
def test_they_load_by_their_names(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    by_path = ferjax.load(released.path_of(name))
    assert ferjax.load(name).metadata == by_path.metadata
    assert main(["inspect", name]) == 0
    assert f"{name}.h5" in capsys.readouterr().out
