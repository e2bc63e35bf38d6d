"""The public data sets: name, file, licence, home page and sha256.

The URLs name a commit if possible. Sentriton distributes none of these files. Users download them from their homes,
under their licences.
"""

from __future__ import annotations

from dataclasses import dataclass

_RAW = "https://raw.githubusercontent.com"
_KLUE_COMMIT = "ab22cd5cfdd6b527a9a4e2d177f9dacb85ddde2c"
_PARAKQC_COMMIT = "c16270fe6c2e888af07e7cb043248ad31d8a6f9c"
_CHATBOT_COMMIT = "a22e508811b5040eead0be5a89c27ef3780d4e82"
_NSMC_COMMIT = "b6232e69290a826104357381560e18adbad23473"

_KLUE = "https://github.com/KLUE-benchmark/KLUE"
_KORNLU = "https://github.com/kakaobrain/KorNLUDatasets"
_BY_SA = "CC BY-SA 4.0"


@dataclass(frozen=True)
class PublicDataSet:
    """A data set, which is one file in the data folder.

    `download_bytes` is the size of the download, or its upper bound for an archive. `sha256` is that of the file, or
    of the text in a compressed file (.xz). `archive` marks a .tar.gz of film reviews (`reviews.py`).
    """

    name: str
    file: str
    title: str
    licence: str
    homepage: str
    url: str
    download_bytes: int
    sha256: str
    archive: bool = False


_DATA_SETS = (
    # Both dev files of KLUE 1.1 are identical to those of version 1.
    PublicDataSet(
        "klue-sts-dev",
        "klue-sts-v1.1_dev.json",
        "KLUE-STS 1.1 dev",
        _BY_SA,
        _KLUE,
        f"{_RAW}/KLUE-benchmark/KLUE/{_KLUE_COMMIT}/klue_benchmark/klue-sts-v1/klue-sts-v1_dev.json",
        454_638,
        "b6a0ae0c370e21687f7eef0fdea872a328bb2ecbdb020c546cb870d28606bf80",
    ),
    PublicDataSet(
        "klue-sts-train",
        "klue-sts-v1.1_train.json",
        "KLUE-STS train",
        _BY_SA,
        _KLUE,
        f"{_RAW}/KLUE-benchmark/KLUE/{_KLUE_COMMIT}/klue_benchmark/klue-sts-v1/klue-sts-v1_train.json",
        10_257_839,
        "9fd1d5d3af73bd06648283be00c87d1b6f6eee90e4854f285df68d0bd5ae91d8",
    ),
    PublicDataSet(
        "klue-nli-dev",
        "klue-nli-v1.1_dev.json",
        "KLUE-NLI 1.1 dev",
        _BY_SA,
        _KLUE,
        f"{_RAW}/KLUE-benchmark/KLUE/{_KLUE_COMMIT}/klue_benchmark/klue-nli-v1/klue-nli-v1_dev.json",
        1_498_298,
        "0699db82be17766b26e199864e6260443e17ec6e91d1870e876419e388f245b1",
    ),
    PublicDataSet(
        "korsts-train",
        "korsts-train.tsv",
        "KorSTS train",
        _BY_SA,
        _KORNLU,
        f"{_RAW}/kakaobrain/KorNLUDatasets/master/KorSTS/sts-train.tsv",
        1_046_952,
        "b5aaa7f957d6ff46f4b6834a8b0f024a9234a6eefe9289aed66746b4533da3b8",
    ),
    PublicDataSet(
        "korsts-dev",
        "korsts-dev.tsv",
        "KorSTS dev",
        _BY_SA,
        _KORNLU,
        f"{_RAW}/kakaobrain/KorNLUDatasets/master/KorSTS/sts-dev.tsv",
        307_276,
        "d835b65b424401fbcce6be28a78159df8d61f5b19977ea7a0b83b8cb6105f393",
    ),
    PublicDataSet(
        "parakqc",
        "parakqc-v1.tsv",
        "ParaKQC v1",
        _BY_SA,
        "https://github.com/warnikchow/paraKQC",
        f"{_RAW}/warnikchow/paraKQC/{_PARAKQC_COMMIT}/data/paraKQC_v1.txt",
        704_972,
        "8a40f48c78c2710e5e64c1fa3a1c3dc720cb21a92f2ff375e3097973ad57e6d6",
    ),
    PublicDataSet(
        "chatbot",
        "chatbot.csv",
        "Chatbot data",
        "MIT",
        "https://github.com/songys/Chatbot_data",
        f"{_RAW}/songys/Chatbot_data/{_CHATBOT_COMMIT}/ChatbotData%20.csv",
        889_842,
        "287eb129695b577321c80ad397bb3c2279164d4ca577874d129fd3db5b30afe2",
    ),
    PublicDataSet(
        "nsmc",
        "nsmc-reviews.txt.xz",
        "NSMC reviews",
        "CC0 1.0",
        "https://github.com/e9t/nsmc",
        f"https://github.com/e9t/nsmc/archive/{_NSMC_COMMIT}.tar.gz",
        250_000_000,
        "255cb1daeb960a7aa984906ba1386b7b98e7ced58d2fff64f036c1249a4480a8",
        archive=True,
    ),
)

CATALOGUE = {data_set.name: data_set for data_set in _DATA_SETS}
