"""Exit codes in words: of CMSSW in full and in 8 bits, of signals, and of the shell."""

import pytest

from dqm2 import exit_codes


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (-9, "-9 SIGKILL"),
        (-11, "-11 SIGSEGV"),
        (139, "139 SIGSEGV"),
        (134, "134 SIGABRT"),
        (1, "1"),
        (65, "65"),
        (-999, "-999"),
        (2**31 - 1, "2147483647"),
    ],
)
def test_it_names_the_signal_of_an_exit_code(code: int, expected: str) -> None:
    assert str(exit_codes.describe(code)) == expected


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (0, "finished normally"),
        (-11, "SIGSEGV: segmentation violation"),
        (8020, "CMSSW error 8020: a file could not be opened"),
        (84, "CMSSW error 8020: a file could not be opened"),
        (70, "CMSSW error 8006: a data product was not found"),
        (92, "CMSSW error 8028: a file could not be opened, nor its fallback"),
        (7002, "CMSSW error 7002: the configuration file could not be read"),
        (90, "CMSSW error 7002: the configuration file could not be read, or 8026: something was not found"),
        (127, "the program was not found"),
        (3, "ended with an error of its own"),
    ],
)
def test_it_explains_exit_codes(code: int, meaning: str) -> None:
    assert exit_codes.describe(code).meaning == meaning


def test_it_knows_all_codes_of_cmssw_and_their_8_bits() -> None:
    for code in (7000, 7001, 7002, *range(8001, 8037), 8501, 8901, 9000):
        words = f"{code}: "
        assert words in exit_codes.describe(code).meaning
        assert words in exit_codes.describe(code % 256).meaning


def test_it_takes_any_code() -> None:
    for code in (*range(-300, 300), -(2**31), 2**31 - 1):
        assert exit_codes.describe(code).meaning
