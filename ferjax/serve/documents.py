"""What OpenAPI says of the service: the answers' fields, the forms of requests, examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, Field

from ferjax.faces.detection import MIN_SCORE
from ferjax.limits import SMALLEST
from ferjax.serve.refusals import CODES, MEDIA_TYPE, Refusal

SECURITY: Final = "token"


class Problem(BaseModel):
    """Why a request is not done (RFC 9457)."""

    type: Literal["about:blank"]
    title: str
    status: int
    code: str = Field(description="for programs", json_schema_extra={"enum": list(CODES)})
    detail: str = Field(description="a sentence for people")


class FaceEntry(BaseModel):
    """A face, as `ferjax faces --json` has it."""

    face: int = Field(description="number in the photograph, from 1")
    box: list[float] = Field(description="x, y, width, height in pixels of the upright picture")
    score: float = Field(description="how sure the detector is, in [0, 1]")
    landmarks: list[list[float]] | None = Field(
        description="x and y of the right eye, left eye, nose, right and left corner of the mouth"
    )
    roll: float = Field(description="degrees by which the head is turned clockwise")
    label: str | None = Field(description="the most probable class; null where it abstains")
    index: int | None = Field(description="its position in the output; null where it abstains")
    confidence: float = Field(description="the highest probability")
    probabilities: dict[str, float]
    size: float = Field(description="height in pixels, along the head")
    too_small: bool = Field(
        description=f"below {SMALLEST} pixels, where the expression means little"
    )


class PhotographEntry(BaseModel):
    """What came of a photograph, as `ferjax faces --json` has it; the answer has the engine."""

    path: str = Field(description='the name that was sent, or "image 1", ...')
    width: int | None
    height: int | None
    error: str | None = Field(description="why it cannot be used, or null")
    code: str | None = Field(description="the same for programs")
    faces: list[FaceEntry]


class PredictionEntry(BaseModel):
    """What came of a picture that is one face, as `ferjax predict --json` has it; the answer has
    the engine."""

    path: str = Field(description='the name that was sent, or "image 1", ...')
    error: str | None = Field(description="why it cannot be used, or null")
    code: str | None = Field(description="the same for programs")
    label: str | None
    index: int | None
    confidence: float | None
    probabilities: dict[str, float] | None


class FacesAnswer(BaseModel):
    """The faces in photographs, one entry for each, in the order sent."""

    model: str = Field(description="the name of the weights")
    engine: str = Field(description="what computed: jax or onnx")
    results: list[PhotographEntry]


class PredictAnswer(BaseModel):
    """What is said of pictures, one entry for each, in the order sent."""

    model: str = Field(description="the name of the weights")
    engine: str = Field(description="what computed: jax or onnx")
    results: list[PredictionEntry]


class Ready(BaseModel):
    """Whether the service answers."""

    status: str


_PRIOR: Final = {
    "description": "how common each class is among such faces: as in training, each as the others, "
    "or shares by class (in forms: CLASS=SHARE,...)",
    "anyOf": [
        {"type": "string"},
        {"type": "object", "additionalProperties": {"type": "number", "exclusiveMinimum": 0}},
    ],
    "default": "training",
}
_CONFIDENCE: Final[dict[str, Any]] = {
    "calibrated": {
        "type": "boolean",
        "default": False,
        "description": "apply the calibration stored with the weights",
    },
    "prior": _PRIOR,
    "abstain_below": {
        "type": "number",
        "minimum": 0,
        "maximum": 1,
        "default": 0,
        "description": "the confidence that a label needs; below it `label` is null",
    },
}


def _resize(default: str) -> dict[str, Any]:
    return {
        "resize": {
            "type": "string",
            "enum": ["area", "linear"],
            "default": default,
            "description": "how a face comes to the network's size: by the mean of its pixels, or "
            "bilinear as published",
        }
    }


FACES_OPTIONS: Final[dict[str, Any]] = {
    "min_score": {"type": "number", "minimum": 0, "maximum": 1, "default": MIN_SCORE},
    "min_size": {
        "type": "number",
        "exclusiveMinimum": 0,
        "description": "the height in pixels that a face needs; faces from this size on are "
        "looked for however large the picture",
    },
    "largest": {
        "type": "boolean",
        "default": False,
        "description": "only the largest face of each photograph",
    },
    "order": {"type": "string", "enum": ["reading", "size"], "default": "reading"},
    **_resize("area"),
    **_CONFIDENCE,
}
PREDICT_OPTIONS: Final[dict[str, Any]] = {**_resize("linear"), **_CONFIDENCE}

_BASE64: Final = {"type": "string", "format": "byte", "description": "a picture in base64"}
_IMAGE: Final = {
    "anyOf": [
        _BASE64,
        {
            "type": "object",
            "required": ["data"],
            "properties": {"name": {"type": "string"}, "data": _BASE64},
            "additionalProperties": False,
        },
    ]
}


def request(options: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    """Return what OpenAPI says of a request with pictures and options."""
    files = {
        "type": "array",
        "items": {"type": "string", "contentMediaType": "image/*"},
        "description": "a part for each picture, of any name, with a file name",
    }
    json_body = {
        "type": "object",
        "required": ["images"],
        "properties": {"images": {"type": "array", "minItems": 1, "items": _IMAGE}, **options},
        "additionalProperties": False,
    }
    form = {"type": "object", "required": ["images"], "properties": {"images": files, **options}}
    sent = {"images": [{"name": "party.jpg", "data": "/9j/4AAQSkZJRg..."}], **example}
    return {
        "parameters": [
            {"name": name, "in": "query", "required": False, "schema": schema}
            for name, schema in options.items()
        ],
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": form,
                    "encoding": {"images": {"contentType": "image/*"}},
                },
                "application/json": {
                    "schema": json_body,
                    "examples": {"one photograph": {"value": sent}},
                },
                "image/*": {"schema": {"type": "string", "contentMediaType": "image/*"}},
            },
        },
    }


_PROBABILITIES: Final = {
    "angry": 0.001,
    "disgust": 0.0,
    "fear": 0.001,
    "happy": 0.991,
    "neutral": 0.006,
    "sad": 0.0,
    "surprise": 0.001,
}
_GUESS: Final = {
    "label": "happy",
    "index": 3,
    "confidence": 0.991,
    "probabilities": _PROBABILITIES,
}
FACES_EXAMPLE: Final[dict[str, Any]] = {
    "model": "fer_cnn8_votes",
    "engine": "onnx",
    "results": [
        {
            "path": "party.jpg",
            "width": 512,
            "height": 512,
            "error": None,
            "code": None,
            "faces": [
                {
                    "face": 1,
                    "box": [179.0, 67.0, 91.0, 107.0],
                    "score": 0.93,
                    "landmarks": [
                        [202.0, 110.0], [245.0, 112.0], [225.0, 136.0],
                        [205.0, 149.0], [238.0, 151.0],
                    ],
                    "roll": 2.5,
                    **_GUESS,
                    "size": 107.0,
                    "too_small": False,
                }
            ],
        }
    ],
}  # fmt: skip
PREDICT_EXAMPLE: Final[dict[str, Any]] = {
    "model": "fer_cnn8_votes",
    "engine": "onnx",
    "results": [{"path": "face.png", "error": None, "code": None, **_GUESS}],
}


def refused(codes: str) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says of refusals, of `refusals.CODES`, separated by spaces."""
    said: dict[int | str, dict[str, Any]] = {}
    for code in codes.split():
        status, sentence = CODES[code]
        problem = Refusal(code, sentence).problem
        entry = said.setdefault(
            status, {"description": "", "content": {MEDIA_TYPE: {"schema": _REF, "examples": {}}}}
        )
        entry["description"] = f"{entry['description']} `{code}`: {sentence}".strip()
        entry["content"][MEDIA_TYPE]["examples"][code] = {"value": problem}
    return said


_REF: Final = {"$ref": "#/components/schemas/Problem"}
BODY_CODES: Final = (
    "malformed-body no-token origin-not-allowed body-timeout body-too-large too-many-images "
    "too-many-pixels not-an-image unsupported-body host-not-allowed no-images unreadable-image "
    "too-many-faces too-costly invalid-option too-many-requests failed busy timed-out"
)


def completed(
    schema: dict[str, Any], examples: Mapping[str, Any], *, with_tokens: Callable[[str], bool]
) -> dict[str, Any]:
    """Return FastAPI's schema with what its routes do not say: problems, examples, tokens.

    Args:
        schema: as FastAPI makes it of the routes.
        examples: an answer, by the path at which it is asked for.
        with_tokens: whether a path is for those who bear a token alone.
    """
    for path, example in examples.items():
        content = schema["paths"][path]["post"]["responses"]["200"]["content"]
        content["application/json"]["example"] = example  # FastAPI would drop what is null
    parts = schema.setdefault("components", {})
    parts.setdefault("schemas", {})["Problem"] = Problem.model_json_schema()
    guarded = [methods for path, methods in schema["paths"].items() if with_tokens(path)]
    if guarded:
        parts["securitySchemes"] = {SECURITY: {"type": "http", "scheme": "bearer"}}
    for methods in guarded:
        for said in methods.values():
            said["security"] = [{SECURITY: []}]
    return schema
