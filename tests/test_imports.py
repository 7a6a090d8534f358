"""What is imported when: nothing heavy before it is needed, TensorFlow and Keras never."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import ferjax
from ferjax import priors
from ferjax.cli import options

ROOT = Path(__file__).parents[1]
WEIGHTS = ROOT / "checkpoints" / "fer_cnn5.h5"
IMAGE = ROOT / "examples" / "astronaut.png"
PHOTOGRAPH = IMAGE.with_suffix(".jpg")

COMMANDS = (
    "predict faces video web serve convert export inspect verify train evaluate calibrate".split()
)
COMMANDS += ["card", "push", "data", "data info", "data prepare"]

# Imports of these raise, as where they are not installed.
BLOCK = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {names!r}:
            raise ModuleNotFoundError(f'{{name}} is blocked', name=name)
sys.meta_path.insert(0, Blocked())
"""
MODULES = "import json, sys; print(json.dumps(sorted({n.split('.')[0] for n in sys.modules})))"


def run(code: str) -> list[str]:
    """Run code in a process of its own and return its lines on stdout."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def imported_by(code: str) -> set[str]:
    return set(json.loads(run(f"{code}\n{MODULES}")[-1]))


def test_ferjax_itself_imports_nothing_heavy() -> None:
    found = imported_by("import ferjax; ferjax.EMOTIONS; dir(ferjax)")
    heavy = {"cv2", "flax", "h5py", "jax", "keras", "matplotlib", "numpy", "PIL", "tensorflow"}
    assert not found & heavy


def test_faces_need_numpy_alone_until_one_is_looked_for() -> None:
    found = imported_by("import ferjax; ferjax.faces.Face")
    assert "numpy" in found
    assert not found & {"cv2", "flax", "h5py", "jax", "keras", "matplotlib", "PIL", "tensorflow"}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_line_parses_without_anything_heavy(name: str) -> None:
    """Each command's help has all its options."""
    modules = imported_by(
        "import contextlib, io\n"
        "from ferjax.cli.main import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        f"    main({[*name.split(), '--help']!r})"
    )
    assert not modules & {"cv2", "flax", "h5py", "jax", "keras", "numpy", "tensorflow"}


def test_a_network_imports_the_kinds_of_layers_that_it_has() -> None:
    code = "import ferjax.nets.graph; from ferjax.nets.layers import VOCABULARY, Dense, snake_case"
    names = "print([n.rsplit('.')[-1] for n in sys.modules if n.startswith('ferjax.nets.layers.')])"
    found = run(f"import sys; {code}; assert 'LSTM' in VOCABULARY; {names}")[-1]
    assert sorted(ast.literal_eval(found)) == ["base", "dense", "work"]


def test_a_command_imports_no_other() -> None:
    code = "import contextlib, io, sys; from ferjax.cli.main import main"
    call = "with contextlib.suppress(SystemExit): main(['predict'])"
    names = "print(*[n for n in sys.modules if n.startswith('ferjax.cli.')])"
    found = {name.rsplit(".", 1)[-1] for name in run(f"{code}\n{call}\n{names}")[-1].split()}
    assert "predict" in found
    assert not found & (set(COMMANDS) - {"predict"})


@pytest.mark.parametrize("module", ["ferjax.train.recipes", "ferjax.data.augmentation"])
def test_recipes_and_augmentations_are_plain_data(module: str) -> None:
    modules = imported_by(f"import {module}")
    assert "ferjax" in modules
    assert not modules & {"cv2", "flax", "h5py", "jax", "numpy", "optax", "tensorflow"}


def test_reading_a_keras_file_needs_h5py_alone() -> None:
    found = imported_by(f"import ferjax.keras; ferjax.keras.load({str(WEIGHTS)!r})")
    assert "h5py" in found
    assert not found & {"cv2", "flax", "jax", "keras", "matplotlib", "PIL", "tensorflow"}


def test_every_public_name_of_keras_is_there() -> None:
    names = run("import ferjax.keras as k; print(*(n for n in k.__all__ if hasattr(k, n)))")
    assert names[-1].split() == ferjax.keras.__all__
    assert dir(ferjax.keras) == sorted(ferjax.keras.__all__)
    modules = run("import ferjax.keras as k; print(k.reader.__name__, k.writer.__name__)")
    assert modules[-1].split() == ["ferjax.keras.reader", "ferjax.keras.writer"]
    with pytest.raises(AttributeError, match=r"'ferjax\.keras' has no attribute 'nothing'"):
        ferjax.keras.nothing  # noqa: B018


def test_the_default_prior_of_the_command_line_is_that_of_the_library() -> None:
    assert options._PRIOR == priors.TRAINING


def test_reading_weights_imports_nothing_that_writes_or_is_for_rare_layers() -> None:
    read = f"import sys; from ferjax import weights; weights.read({str(WEIGHTS)!r})"
    found = set(run(f"{read}\nprint(*sys.modules, sep='\\n')"))
    assert "ferjax.keras.reader" in found
    assert not found & {"ferjax.keras.writer", "ferjax.keras.inspection"}
    assert not any(name.startswith("ferjax.keras.operation") for name in found)
    assert not found & {f"ferjax.nets.layers.{module}" for module in ("operations", "merging")}


@pytest.mark.parametrize("command", ["predict x.png", "faces x.jpg", "video x.mp4"])
def test_a_command_line_is_read_without_numpy(command: str) -> None:
    """The weight file is hashed while that is imported."""
    arguments = command.split()
    parsed = f"from ferjax.cli.main import build_parser; p = build_parser({arguments[0]!r})"
    found = imported_by(f"{parsed}; p.parse_args({arguments!r})")
    assert "argparse" in found
    assert "numpy" not in found


@pytest.mark.parametrize("name", ["m.h5", "m.keras", "m.weights.h5"])
def test_a_conversion_between_keras_files_needs_no_jax(tmp_path: Path, name: str) -> None:
    arguments = ["convert", str(WEIGHTS), str(tmp_path / name)]
    found = imported_by(f"from ferjax.cli.main import main; main({arguments!r})")
    assert not found & {"cv2", "flax", "jax", "keras", "matplotlib", "PIL", "tensorflow"}


def test_a_prediction_by_jax_imports_no_tensorflow_keras_flax_matplotlib_or_pillow() -> None:
    found = imported_by(
        "import ferjax\nclassifier = ferjax.load(engine='jax')\n"
        f"assert classifier.predict({str(IMAGE)!r})[0].label == 'happy'"
    )
    assert {"jax", "cv2"} <= found
    others = {"flax", "keras", "matplotlib", "onnxruntime", "optax", "orbax", "PIL", "tensorflow"}
    assert not found & others


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", str(IMAGE), "--json", "--prior", "uniform"],
        ["faces", str(PHOTOGRAPH), "--json"],
        ["faces", str(PHOTOGRAPH), "--json", "--csv", "faces.csv", "--force"],
    ],
)
def test_the_commands_that_predict_import_no_jax_on_cpus(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    code = f"import os; os.chdir({str(tmp_path)!r})\nfrom ferjax.cli.main import main"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    heavy = {"flax", "jax", "jaxlib", "keras", "onnx", "matplotlib", "PIL", "tensorflow"}
    # The second start reads no weights, but where a table says which they were.
    for is_kept in (False, True):
        lines = run(f"{code}\nassert main({arguments!r}) == 0\n{MODULES}")
        (entry,) = json.loads("\n".join(lines[:-1]))
        assert entry["engine"] == "onnx"
        assert entry.get("label", "happy") == "happy"
        found = set(json.loads(lines[-1]))
        assert {"cv2", "onnxruntime"} <= found
        assert ("h5py" in found) is (not is_kept or "--csv" in arguments)
        assert not found & {*heavy, "imagesize", "scipy", "ssl"}


@pytest.mark.slow
def test_everything_of_the_core_works_where_keras_and_tensorflow_cannot_be_imported(
    tmp_path: Path, fixtures: Path
) -> None:
    sources = [
        WEIGHTS,
        fixtures / "keras-2.15.0" / "sequential.h5",
        fixtures / "keras-3.15.1" / "sequential.keras",
    ]
    code = BLOCK.format(names={"keras", "tensorflow", "tf_keras", "matplotlib", "PIL", "torch"})
    code += f"""
import ferjax, ferjax.keras
from ferjax.conversion import convert
for source in {[str(path) for path in sources]!r}:
    model = ferjax.keras.load(source)
    for name in ('m.h5', 'm.keras', 'm.weights.h5', 'm.msgpack'):
        convert(source, {str(tmp_path)!r} + '/' + name, labels=list('abcdefg'))
    print(ferjax.load({str(tmp_path)!r} + '/m.keras').predict({str(IMAGE)!r})[0].label)
try:
    import keras
except ModuleNotFoundError:
    print('blocked')
"""
    lines = run(code)
    assert len(lines) == 4
    assert lines[0] == "d"  # the fourth, as "happy" is
    assert lines[-1] == "blocked"


def test_predictions_work_without_the_optional_packages() -> None:
    code = BLOCK.format(names={"optax", "orbax", "PIL", "matplotlib", "psutil", "grain"})
    code += f"import ferjax; print(ferjax.load().predict({str(IMAGE)!r})[0].label)"
    assert run(code) == ["happy"]


def imports(path: Path) -> set[str]:
    """Return the top-level packages of all import statements in a file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").split(".")[0])
    return found


def test_no_file_of_the_core_names_tensorflow_or_keras() -> None:
    core = [
        path
        for path in (ROOT / "ferjax").rglob("*.py")
        if path.relative_to(ROOT / "ferjax").parts[0]
        not in ("data", "train", "evaluate", "explain.py")
    ]
    assert len(core) > 30
    for path in core:
        draws = path.relative_to(ROOT / "ferjax").as_posix() == "pictures/figures.py"
        foreign = {"keras", "tensorflow", "tf_keras"} | (set() if draws else {"matplotlib"})
        assert not imports(path) & foreign, path


def test_the_public_names_are_there_and_no_others() -> None:
    for name in ferjax.__all__:
        assert getattr(ferjax, name) is not None
        assert name in dir(ferjax)
    with pytest.raises(AttributeError, match="module 'ferjax' has no attribute 'nothing'"):
        _ = ferjax.nothing  # type: ignore[attr-defined]


def test_the_modules_of_data_are_there_when_they_are_asked_for() -> None:
    (names,) = run(
        "import ferjax; d = ferjax.data; print(d.augment.augment.__name__, "
        "d.device_pipeline.__name__, hasattr(d, 'nothing'), hasattr(d, '_nothing'))"
    )
    assert names == "augment ferjax.data.device_pipeline False False"
    assert all(getattr(ferjax.data, name) is not None for name in ferjax.data.__all__)
