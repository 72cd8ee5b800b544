"""What requests and answers look like: FastAPI checks and documents them by these."""

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

MAX_K = 1000
_SURROGATE = re.compile("[\ud800-\udfff]")


def _replace_surrogates(value):
    """Replace halves of characters, as ``fit`` does: pydantic would refuse them."""
    return _SURROGATE.sub("?", value) if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_replace_surrogates)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    model: str | None = Field(
        None, description="Name of the model. The first one, if it is left out."
    )


class PredictRequest(_Request):
    """One text, or many."""

    text: Text | None = Field(None, examples=["no sound after the update"])
    texts: list[Text] | None = Field(None, min_length=1)
    k: int = Field(5, ge=1, le=MAX_K, description="Number of labels per text.")
    threshold: float = Field(
        0, ge=0, le=1, allow_inf_nan=False, description="Least probability of a label."
    )


class ExplainRequest(_Request):
    """A text, and one of its labels."""

    text: Text = Field(examples=["no sound after the update"])
    label: int | Text = Field(description="Id or name of a label.")


class TaggedRequest(_Request):
    """A text with the labels that a person has given it."""

    text: Text
    labels: list[Text] = Field(description="Names of labels that are right.")
    rejected: list[Text] = Field([], description="Names of labels that are wrong.")


class Label(BaseModel):
    """A label; the text only if it is not the name."""

    id: int
    name: str
    text: str | None = None


class RankedLabel(Label):
    """A label and its probability."""

    probability: float


class Ranking(BaseModel):
    """The labels of one text, best first."""

    labels: list[RankedLabel]


class PredictAnswer(BaseModel):
    """The rankings of the texts, in their order."""

    model: str
    results: list[Ranking]


class Word(BaseModel):
    """Where a word is, in characters of the text, and how it speaks for the label."""

    start: int
    end: int
    weight: float = Field(
        description="By how much the log-odds of the label fall without the word."
    )


class ExplainAnswer(BaseModel):
    """The words of a text, in their order."""

    model: str
    label: Label
    probability: float
    words: list[Word]


class LabelsAnswer(BaseModel):
    """Labels that were found, best first."""

    model: str
    labels: list[Label]


class TaggedAnswer(BaseModel):
    """What was appended to the file."""

    unknown: list[str] = Field(description="Labels that the model does not have.")


class ModelInfo(BaseModel):
    """A model that is served."""

    name: str
    system: str
    labels: int
    documents: int = Field(description="Documents that the model was fitted on.")


class ModelsAnswer(BaseModel):
    """All models, and what the service allows."""

    models: list[ModelInfo]
    log: bool = Field(description="Whether tagged texts are appended to a file.")
    max_texts: int
    max_characters: int
    max_words: int = Field(description="Words of a text that can be explained.")


class Error(BaseModel):
    """What is wrong, and what to do."""

    error: str
