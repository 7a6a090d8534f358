"""FER2013 as a TensorFlow Datasets builder: `import` this module, then `tfds.load("fer2013")`.

TensorFlow is imported here, and by nothing that does not ask for this module.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from ferjax.data import sources, splits
from ferjax.data.dataset import SPLITS, Faces
from ferjax.emotions import EMOTIONS
from ferjax.errors import DataError

_CITATION = """
@article{goodfellow2013challenges,
  title = {Challenges in Representation Learning: A report on three machine learning contests},
  author = {Goodfellow, Ian J. and Erhan, Dumitru and Carrier, Pierre Luc and Courville, Aaron and
    Mirza, Mehdi and Hamner, Ben and Cukierski, Will and Tang, Yichuan and Thaler, David and
    Lee, Dong-Hyun and others},
  journal = {arXiv:1307.0414},
  year = {2013}
}
"""

_DESCRIPTION = """
48x48 gray face images, each labelled with one of seven facial expressions: angry, disgust, fear,
happy, neutral, sad, surprise (Goodfellow et al., 2013). The label order is this one, not that of
the ids in fer2013.csv. `train` is FER2013's Training, `validation` its PublicTest and `test` its
PrivateTest; about 8 % of PublicTest and PrivateTest are exact copies of training images.
"""


class Fer2013(tfds.core.GeneratorBasedBuilder):  # type: ignore[misc]
    """Builder of FER2013 from any form in which it circulates.

    Examples have `image`, `label` and `name`; where people were asked, `votes` too, whose names are
    in the info's `metadata["vote_names"]`.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First version."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Put one of these into the manual download folder, as the only file or folder there:
    - the Kaggle archive of ananthu017/emotion-detection-fer or of msambare/fer2013, zipped or not;
    - fer2013.csv or icml_face_data.csv, plain or inside a .zip or .tar.gz.
    """
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(name="official", description="Training, PublicTest, PrivateTest"),
        tfds.core.BuilderConfig(name="card", description="80/10/10 of all, stratified, seed 0"),
    ]

    # Set by `from_faces`: faces that are in memory already, and split.
    faces: Faces | None = None
    progress: sources.Progress | None = None

    @classmethod
    def from_faces(
        cls, faces: Faces, data_dir: Path, scheme: str, progress: sources.Progress | None = None
    ) -> Fer2013:
        """Return a builder that writes `faces` as they are to `data_dir`."""
        # Behind a property, because TFDS would call a function of the class as a method.
        members = {"faces": faces, "progress": property(lambda _: progress), "name": cls.name}
        cls_faces = type(cls.__name__, (cls,), members, **_UNREGISTERED)
        builder: Fer2013 = cls_faces(data_dir=data_dir, config=scheme)
        return builder

    def _info(self) -> tfds.core.DatasetInfo:
        features = _written_features(Path(self.data_dir)) if self.faces is None else None
        votes = None if self.faces is None else self.faces.votes
        # TFDS reads this from the folder itself only where it does not know the builder.
        random_access = any(Path(self.data_dir).glob("*.array_record-*"))
        return tfds.core.DatasetInfo(
            builder=self,
            alternative_file_formats=["array_record"] if random_access else None,
            description=_DESCRIPTION,
            features=features or _features(self.faces),
            metadata=votes and tfds.core.MetadataDict(vote_names=list(votes.names)),
            supervised_keys=("image", "label"),
            homepage="https://arxiv.org/abs/1307.0414",
            citation=_CITATION,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        faces = self.faces
        if faces is None:
            source = _only_entry(Path(dl_manager.manual_dir))
            scheme = self.builder_config.name if self.builder_config else "official"
            faces = splits.apply(sources.read(source).faces, scheme)
        present = [split for split in SPLITS if faces.in_split(split).any()]
        return {split: self._generate_examples(faces, split) for split in present}

    def _generate_examples(self, faces: Faces, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        rows = faces.in_split(split).nonzero()[0].tolist()
        for done, row in enumerate(rows, 1):
            if self.progress is not None and done % 256 == 0:
                self.progress(done, len(rows), f"{split} images written for TFDS")
            example = {
                "image": faces.images[row][..., None],
                "label": int(faces.labels[row]),
                "name": faces.names[row].encode(errors="surrogateescape"),
            }
            if faces.votes is not None:
                example["votes"] = faces.votes.counts[row]
            yield row, example


def _features(faces: Faces | None) -> tfds.features.FeaturesDict:
    """Return what each image has; without faces, what FER2013 has."""
    height, width = (48, 48) if faces is None else faces.images.shape[1:]
    names = EMOTIONS if faces is None else faces.class_names
    features = {
        "image": tfds.features.Image(shape=(height, width, 1), encoding_format="png"),
        "label": tfds.features.ClassLabel(names=list(names)),
        "name": tfds.features.Text(doc="where the image is in the source"),
    }
    if faces is not None and faces.votes is not None:
        doc = f"how many people said each of: {', '.join(faces.votes.names)}"
        features["votes"] = tfds.features.Tensor(
            shape=(len(faces.votes.names),), dtype=np.float32, doc=doc
        )
    return tfds.features.FeaturesDict(features)


def _written_features(folder: Path) -> tfds.features.FeaturesDict | None:
    """Return what the images of a dataset that was written already have: other sizes, classes and
    votes than FER2013's own, as `from_faces` was given.
    """
    if not (folder / "features.json").is_file():
        return None
    return tfds.features.FeaturesDict.from_config(str(folder))


_UNREGISTERED: dict[str, Any] = {"skip_registration": True}


def add_random_access(builder: Fer2013) -> None:
    """Add array_record files, which `tfds.data_source` reads, beside those of `tfds.load`."""
    import tensorflow as tf
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorflow_datasets.core.file_adapters import FileFormat

    folder = Path(builder.data_dir)
    for shard in sorted(folder.glob("*.tfrecord-*")):
        name = shard.name.replace(".tfrecord-", ".array_record-")
        writer = ArrayRecordWriter(str(folder / name), "group_size:1")
        for example in tf.data.TFRecordDataset(str(shard)).as_numpy_iterator():
            writer.write(example)
        writer.close()
    builder.info.add_alternative_file_format(FileFormat.ARRAY_RECORD)
    builder.info.write_to_directory(folder)


def _only_entry(folder: Path) -> Path:
    entries = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    if {path.name for path in entries} & {"train", "test"}:
        return folder  # an archive unpacked right here
    if len(entries) != 1:
        names = ", ".join(path.name for path in entries) or "nothing"
        raise DataError(f"{folder}: expected one file or folder with FER2013, got {names}")
    return entries[0]
