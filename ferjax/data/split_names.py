"""What folders, files and columns call train, validation and test.

Names are read by the words in them: FER2013Train, images_valid and Test-Set are splits. A name that
says nothing of itself may still be told by those beside it: fertrain and fertest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

_WORDS: Final = {
    **dict.fromkeys("train training trainval trn".split(), "train"),
    **dict.fromkeys(
        "validation validate validating valid val dev development".split(), "validation"
    ),
    **dict.fromkeys("eval evaluation publictest".split(), "validation"),
    **dict.fromkeys("test testing tst holdout heldout privatetest".split(), "test"),
    # Spanish, French, Portuguese, Italian, German, Chinese
    **dict.fromkeys("entrenamiento entrainement entraînement apprentissage".split(), "train"),
    **dict.fromkeys("treino treinamento addestramento trainieren 训练 训练集".split(), "train"),
    **dict.fromkeys("validacion validación validacao validação".split(), "validation"),
    **dict.fromkeys("convalida validierung 验证 验证集".split(), "validation"),
    **dict.fromkeys("prueba pruebas teste testes 测试 测试集".split(), "test"),
}
_EVALUATION: Final = frozenset(("eval", "evaluation"))  # test, where another is validation
# Words that say nothing of which images these are.
_GENERIC: Final = frozenset(
    "set sets data dataset datasets image images img imgs pic pics picture pictures photo photos "
    "face faces facial crop crops cropped aligned raw original folder folders dir class classes "
    "category categories label labels labeled labelled emotion emotions expression expressions "
    "split splits file files sample samples part subset usage the of and for in my all archive "
    "png jpg jpeg csv parquet frames input output final new clean processed resized gray grayscale "
    "fer ferplus affectnet raf rafdb db ck ckplus jaffe kdef expw sfew oulu mma icml".split()
)
_GLUE: Final = "sets?|data|datasets?|images?|imgs?|pics?|faces?|folder|dir|class|classes|files?"
_GLUED: Final = re.compile(rf"({'|'.join(_WORDS)})(?:{_GLUE})|(?:{_GLUE})({'|'.join(_WORDS)})")
_CAMEL: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_]+")
_PARTS: Final = re.compile(r"[^\W\d_]+|[0-9]+")


@lru_cache(maxsize=4096)
def parts(name: str) -> tuple[str | None, str]:
    """Return the split of `SPLITS` that a name speaks of, and what else it says, in lower case.

    >>> parts("FER2013_Train"), parts("happy"), parts("happy-test 2")
    (('train', ''), (None, 'happy'), ('test', 'happy'))
    """
    split, others = None, _PARTS.findall(name.lower())
    for words in (others, [word.lower() for word in _CAMEL.findall(name)]):
        words = [_unglued(word) for word in words]
        of_splits = [word for word in words if word in _WORDS]
        split = _combined(of_splits, words)
        if split is not None:
            others = [word for word in words if word not in (*of_splits, "public", "private")]
            break
    return split, " ".join(w for w in others if w not in _GENERIC and not w.isdecimal())


def _unglued(word: str) -> str:
    """Return the split's word in one such as testset or valdata, or the word itself."""
    match = _GLUED.fullmatch(word)
    return word if word in _WORDS or match is None else match[1] or match[2]


def _combined(of_splits: list[str], words: list[str]) -> str | None:
    """Return the split that the words for splits among those of a name say together, if any."""
    splits = {_WORDS[word] for word in of_splits}
    if splits == {"test"} and {"public", "private"} & set(words):
        if {"public", "private"} <= set(words):
            return None
        return "validation" if "public" in words else "test"
    if (
        splits == {"train", "validation"}
        and _WORDS[of_splits[0]] == "train"
        and len(of_splits) == 2
    ):
        return "train"  # train_val: what is left for testing is elsewhere
    return next(iter(splits)) if len(splits) == 1 else None


def split_of(name: str) -> str | None:
    """Return the split that a name stands for that says nothing else.

    >>> split_of("Public_Test"), split_of("train_images"), split_of("test_anxiety")
    ('validation', 'train', None)
    """
    split, others = parts(name)
    return None if others else split


def splits_of(names: Iterable[str]) -> dict[str, str | None]:
    """Return the split of each of the names that stand side by side, None for those without one.

    None has one unless a name is a split and nothing else, or there are two different splits: of
    test_anxiety and test_joy none is a split.

    >>> splits_of(["left", "right"])
    {'left': None, 'right': None}
    >>> splits_of(["fertrain", "fertest"])
    {'fertrain': 'train', 'fertest': 'test'}
    """
    names = list(dict.fromkeys(names))
    splits = {name: parts(name)[0] for name in names}
    if not any(splits.values()):
        splits.update(_by_ends(names))
    words = {name: set(map(_unglued, _PARTS.findall(name.lower()))) for name in names}
    evaluations = [name for name in names if _EVALUATION & words[name]]
    if "validation" in {splits[name] for name in names if name not in evaluations}:
        splits |= {name: "test" for name in evaluations if splits[name] == "validation"}
    different = {split for split in splits.values() if split}
    if len(different) > 1 or any(split_of(name) for name in names):
        return splits
    return dict.fromkeys(names)


def _by_ends(names: list[str]) -> dict[str, str]:
    """Return the splits of names that are alike but for a split's word at one end."""
    short = {"public": "validation", "private": "test", "tr": "train", "va": "validation"}
    short |= {"te": "test", "ts": "test"}
    if len(names) > 1 and all(name.lower() in short for name in names):
        return {name: short[name.lower()] for name in names}
    for cut in (str.removesuffix, str.removeprefix):
        stems, splits = set(), {}
        for name in names:
            for word in sorted(_WORDS, key=len, reverse=True):
                stem = cut(name.lower(), word)
                if stem != name.lower():
                    stems.add(stem)
                    splits[name] = _WORDS[word]
                    break
        if len(splits) == len(names) and len(stems) == 1 and len(set(splits.values())) > 1:
            return splits
    return {}
