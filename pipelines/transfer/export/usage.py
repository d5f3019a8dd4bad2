"""The part of a model card that says how to load the export: code to copy; writes no file."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.sources import TaskKind
from pipelines.transfer.export.adapters import BASE_FOLDER
from pipelines.transfer.export.ancestry import Base, origin_of
from pipelines.transfer.export.exported import Loading

_WHOLE = """\
Where fanflare is installed, without code from this folder:

```python
import transformers
import pipelines.transfer.export.exported  # makes the class known

{verb} = transformers.pipeline(
    {arguments}
)
{verb}({example})
```

Elsewhere, with torch and transformers alone; `exported_model.py` in this folder is then run:

```python
import transformers

{verb} = transformers.pipeline(
    {arguments},
    trust_remote_code=True,
)
```

{note}"""

_STOCK = """\
With transformers alone:

```python
import transformers

{verb} = transformers.pipeline(
    {arguments}
)
{verb}({example})
```

{note}"""

_ADAPTER = """\
This folder holds the adapter in peft's layout{head}; the base model {base} {place}.

```python
from pipelines.transfer.export.exported import load  # of fanflare

{verb} = load(DIR{argument})
{verb}({example})
```

With peft alone{without}:
`PeftModel.from_pretrained({auto_class}.from_pretrained({folder}), DIR)`.

{note}"""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What the code on a card calls the pipeline, and gives it."""

    verb: str
    example: str
    note: str


_CUT = "Texts are cut at {max_length} tokens, as in training"
_TEXT = Usage(verb="classify", example='"..."', note=f"{_CUT}: `truncation=True` does it.")
_PAIR = Usage(
    verb="classify",
    example='{"text": "...", "text_pair": "..."}',
    note=f"{_CUT}: `truncation=True` does it.",
)
_WORDS = Usage(
    verb="tag",
    example='["A", "sentence", "as", "words"], is_split_into_words=True',
    note=(
        "A word has the tag of its first token, as in training: that is `first`. Words of one "
        'entity, and neighbours of one tag, come as one answer; `aggregation_strategy="none"` '
        'with `ignore_labels=[]` gives every token. A plain text works too, `tag("...")`; its '
        f"words are then those that the tokenizer sees. {_CUT}."
    ),
)

_LANGUAGE = Usage(
    verb="write",
    example='"...", max_new_tokens=40',
    note="The metrics are of blocks of {max_length} tokens.",
)

_IMAGES = Usage(
    verb="classify",
    example='"image.png"',
    note=(
        "An image is a file, a URL or one of Pillow's. It is sized and scaled by the base model's "
        "own image processor, with Pillow as in training; torchvision, where it is installed, "
        "sizes a little differently."
    ),
)


def usage_of(kind: TaskKind) -> Usage:
    """Return what the code on the card of a kind of task looks like."""
    if kind.is_unlabelled:
        return _LANGUAGE
    if kind.has_images:
        return _IMAGES
    if kind.labels_words:
        return _WORDS
    return _PAIR if kind.is_pair else _TEXT


def loading_text(kind: TaskKind, loading: Loading, max_length: int) -> str:
    """Return how to load the whole model."""
    usage = usage_of(kind)
    options = {"model": "DIR", loading.preprocessor: "DIR"}
    options |= {name: repr(value).replace("'", '"') for name, value in loading.options.items()}
    arguments = [f'"{loading.task}"', *(f"{name}={value}" for name, value in options.items())]
    return (_STOCK if loading.model is None else _WHOLE).format(
        verb=usage.verb,
        example=usage.example,
        arguments=", ".join(arguments),
        note=usage.note.format(max_length=max_length),
    )


def adapter_text(kind: TaskKind, loading: Loading, base: Base, max_length: int) -> str:
    """Return how to load an adapter with its base model."""
    usage = usage_of(kind)
    elsewhere = "FOLDER_OF_THE_BASE_MODEL"
    has_head = loading.model is not None
    return _ADAPTER.format(
        head=" and the head (`head.safetensors`)" if has_head else "",
        without=", and without the head" if has_head else "",
        auto_class="AutoModel" if has_head else loading.auto_class.__name__,
        verb=usage.verb,
        example=usage.example,
        base=origin_of(base.name, base.model.source) if base.model else base.name,
        place="is not in it" if base.can_be_had else f"is in its folder `{BASE_FOLDER}`",
        argument=f", base={elsewhere}" if base.can_be_had else "",
        folder=elsewhere if base.can_be_had else f'DIR + "/{BASE_FOLDER}"',
        note=usage.note.format(max_length=max_length),
    )
