"""Open a file with the Keras of this interpreter and say what it makes of it.

Usage: PYTHON open_with_keras.py FILE INPUTS.npy OUTPUTS.npy [--weights-into MODEL.json] [--train]
       PYTHON open_with_keras.py --serve

Stand-alone and Python 3.6 syntax on purpose: it runs under any Keras from 1.2 to 3.x, and must not
share code with the package that it judges. FERJAX_KERAS=tf_keras chooses tf_keras where both are
installed. Standard output is one line of JSON. The exit status is 1 for a file that does not load
and 2 for a model that loads and does not train; the error is on standard error. With --serve each
line of standard input is such a call, its arguments as JSON, and is answered by a line: [exit
status, report or null, error]. Importing Keras takes longer than opening a file.
"""

import argparse
import importlib
import json
import logging
import os
import sys
import traceback
import warnings

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")


def import_keras():
    wanted = os.environ.get("FERJAX_KERAS")
    for name in [wanted] if wanted else ["keras", "tensorflow.keras"]:
        try:
            return importlib.import_module(name)
        except ImportError as err:
            failure = err
    raise failure


class Collector(logging.Handler):
    """Keras tells through a log or a warning that it dropped the optimizer state: keep both."""

    def __init__(self):
        logging.Handler.__init__(self, logging.WARNING)
        self.messages = []

    def emit(self, record):
        self.messages.append(record.getMessage())


def load(keras, args):
    if not args.weights_into:
        return keras.models.load_model(args.file)
    with open(args.weights_into) as stream:
        model = keras.models.model_from_json(stream.read())
    model.load_weights(args.file)
    return model


def load_quietly(keras, args):
    """Return the model and what Keras warned of while it loaded."""
    collector = Collector()
    loggers = [logging.getLogger(name) for name in ("tensorflow", "absl")]
    for logger in loggers:
        logger.handlers[:] = [collector]
        logger.propagate = False
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = load(keras, args)
    # Deprecations, TensorFlow's among them, and open files say nothing about the model.
    texts = [
        str(w.message) for w in caught if issubclass(w.category, (UserWarning, RuntimeWarning))
    ]
    return model, [text for text in collector.messages if not text.startswith("From /")] + texts


def to_numpy(keras, variable):
    if hasattr(keras, "ops"):
        return keras.ops.convert_to_numpy(variable)
    return keras.backend.get_value(variable)


def optimizer_step(keras, optimizer):
    iterations = getattr(optimizer, "iterations", None)
    return None if iterations is None else int(to_numpy(keras, iterations))


def train(keras, model, inputs, outputs):
    """One step on random targets; says whether it moved the weights."""
    if getattr(model, "optimizer", None) is None:
        model.compile(loss="mse", optimizer=keras.optimizers.Adam())
    rng = np.random.RandomState(0)
    if "sparse" in str(getattr(model, "loss", "")):
        targets = rng.randint(outputs.shape[-1], size=outputs.shape[:-1])
    elif outputs.ndim == 2 and outputs.shape[-1] > 1:
        targets = np.eye(outputs.shape[-1])[rng.randint(outputs.shape[-1], size=len(outputs))]
    else:
        targets = rng.uniform(size=outputs.shape)
    # Dropout may hide a weight and a relu may be dead, but not every kernel of a working model.
    before = [np.array(value) for value in model.get_weights()]
    result = model.train_on_batch(inputs, targets.astype("float32"))
    after = model.get_weights()
    moved = [not np.array_equal(after[index], value) for index, value in enumerate(before)]
    return {
        "loss": float(np.ravel(result)[0]),
        "weights_moved": sum(moved),
        "weights": len(moved),
        "trained_step": optimizer_step(keras, model.optimizer),
    }


def answer(arguments):
    """Return the exit status, the report and the error."""
    try:
        report = opened(arguments)
    except Exception:
        return 1, None, traceback.format_exc()
    return (2 if "train_error" in report else 0), report, report.pop("traceback", "")


def opened(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file")
    parser.add_argument("inputs")
    parser.add_argument("outputs")
    parser.add_argument("--weights-into", metavar="MODEL.json")
    parser.add_argument("--train", action="store_true", help="also run one train_on_batch")
    args = parser.parse_args(arguments)

    keras = import_keras()
    inputs = np.load(args.inputs)
    model, messages = load_quietly(keras, args)
    outputs = np.asarray(model.predict(inputs, verbose=0))
    np.save(args.outputs, outputs)
    optimizer = getattr(model, "optimizer", None)
    report = {
        "keras": keras.__version__,
        "layers": [layer.name for layer in model.layers],
        "optimizer": type(optimizer).__name__ if optimizer is not None else None,
        "optimizer_step": optimizer_step(keras, optimizer),
        "warnings": messages,
    }
    if args.train:
        try:
            report.update(train(keras, model, inputs, outputs))
        except Exception as err:
            # Keras 3 loads its own compiled .h5 files and then cannot train them.
            report["traceback"] = traceback.format_exc()
            report["train_error"] = "%s: %s" % (type(err).__name__, err)
    return report


def serve():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed is no answer
    keras = import_keras()
    for line in sys.stdin:
        answers.write(json.dumps(answer(json.loads(line))) + "\n")
        answers.flush()
        keras.backend.clear_session()


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        serve()
    else:
        status, found, error = answer(sys.argv[1:])
        sys.stderr.write(error)
        if found is not None:
            print(json.dumps(found))
        sys.exit(status)
