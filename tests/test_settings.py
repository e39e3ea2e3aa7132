"""Settings: what goes over what, and where a wrong one is."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from warpsmith import settings
from warpsmith.errors import BadInput
from warpsmith.propose.llm.names import STANDARD
from warpsmith.settings import Settings, load

EXAMPLE = Path(__file__).parents[1] / ".env.example"


def test_nothing_said_gives_the_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, {}, {}) == Settings()


def test_each_place_goes_over_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "warpsmith.toml").write_text("rounds = 2\nbatch = 2\nseed = 2\n")
    environment = {"WARPSMITH_BATCH": "3", "WARPSMITH_SEED": "3"}
    found = load(tmp_path, {"seed": 4}, environment)
    default = Settings()
    assert (found.patience, found.rounds, found.batch, found.seed) == (default.patience, 2, 3, 4)
    assert len({default.rounds, 2}) == len({default.batch, 3}) == len({default.seed, 4}) == 2


def test_a_flag_that_was_not_given_says_nothing(tmp_path: Path) -> None:
    assert load(tmp_path, {"seed": None, "rounds": 0}, {"WARPSMITH_SEED": "3"}).seed == 3
    assert load(tmp_path, {"rounds": 0}, {}).rounds == 0


def test_the_process_environment_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARPSMITH_SEED", "77")
    assert load(tmp_path, {}).seed == 77


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("COLD", "false", False),
        ("COLD", "0", False),
        ("COLD", "True", True),
        ("COLD", "1", True),
        ("HOME", "elsewhere", "elsewhere"),
        ("MIN_GAIN", "0.05", 0.05),
        ("MIN_GAIN", "1", 1.0),
        ("SEED", "-3", -3),
    ],
)
def test_variables_are_converted(tmp_path: Path, name: str, text: str, value: object) -> None:
    found = getattr(load(tmp_path, {}, {f"WARPSMITH_{name}": text}), name.lower())
    assert found == value
    assert type(found) is type(value)


def test_a_whole_number_will_do_for_a_real_one(tmp_path: Path) -> None:
    (tmp_path / "warpsmith.toml").write_text("call_timeout_s = 5\n")
    found = load(tmp_path, {}, {}).call_timeout_s
    assert found == 5.0
    assert type(found) is float


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ronds = 3", "unknown setting 'ronds'"),
        ("[rounds]\nx = 1", "rounds: {'x': 1} is not a int"),
        ('rounds = "many"', "rounds: 'many' is not a int"),
        ("rounds = 1.5", "rounds: 1.5 is not a int"),
        ("rounds = true", "rounds: True is not a int"),
        ("cold = 1", "cold: 1 is not a bool"),
        ("home = 3", "home: 3 is not a str"),
        ("min_gain = true", "min_gain: True is not a float"),
        ("rounds = ", "not TOML"),
        ("rounds = 1\nrounds = 2", "not TOML"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "warpsmith.toml"
    path.write_text(text)
    with pytest.raises(BadInput) as caught:
        load(tmp_path, {}, {})
    assert caught.value.message.startswith(f"{path}: ")
    assert said in caught.value.message
    assert caught.value.remedy


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "warpsmith.toml"
    path.write_bytes(b'home = "caf\xe9"\n')
    with pytest.raises(BadInput, match=re.escape(f"{path}: not TOML")):
        load(tmp_path, {}, {})


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("WARPSMITH_RONDS", "3", "the environment: unknown setting 'ronds'"),
        ("WARPSMITH_ROUNDS", "three", "the environment: rounds: 'three' is not a int"),
        ("WARPSMITH_ROUNDS", "1.5", "the environment: rounds: '1.5' is not a int"),
        ("WARPSMITH_COLD", "perhaps", "the environment: cold: 'perhaps' is not a bool"),
        ("WARPSMITH_MIN_GAIN", "", "the environment: min_gain: '' is not a float"),
    ],
)
def test_a_wrong_variable_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        load(tmp_path, {}, {name: text})
    assert said in caught.value.message


def test_a_wrong_flag_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="the command line: unknown setting 'ronds'") as caught:
        load(tmp_path, {"ronds": 3}, {})
    assert "rounds" in caught.value.remedy


def test_variables_of_others_are_left_alone(tmp_path: Path) -> None:
    environment = {"WARPSMITH_CC": "gcc", "WARPSMITH_CUDA_COMPILER": "nvcc", "ROUNDS": "9", "NOTWARPSMITH_SEED": "1"}
    assert load(tmp_path, {}, environment) == Settings()


def test_a_table_spells_its_keys_out(tmp_path: Path) -> None:
    (tmp_path / "warpsmith.toml").write_text('[models]\nfix = "openai:m@http://h/v1"\ncache = "1h"\n')
    found = load(tmp_path, {}, {"WARPSMITH_MODELS_COMPACT": "openai:small"})
    assert (found.models_fix, found.models_cache) == ("openai:m@http://h/v1", "1h")
    assert found.models_compact == "openai:small"
    assert found.models_propose == Settings().models_propose
    (tmp_path / "warpsmith.toml").write_text('[models]\nfxi = "openai:m"\n')
    with pytest.raises(BadInput, match="unknown setting 'models_fxi'"):
        load(tmp_path, {}, {})


def test_the_models_that_are_named_by_default_have_a_name_and_a_price() -> None:
    from warpsmith.propose.llm.names import parse
    from warpsmith.propose.llm.prices import Prices

    for field in fields(Settings):
        if field.name.startswith("models_") and field.name != "models_cache":
            assert Prices().of(str(parse(getattr(Settings(), field.name)))) is not None
    assert Settings().models_review != Settings().models_propose


def test_settings_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().seed = 3  # type: ignore[misc]


def examples() -> dict[str, tuple[str, bool]]:
    """The variables of the example, with their values and whether they are commented out."""
    found = re.findall(r"^(# ?)?([A-Z][A-Z_]+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE)
    return {name: (value, bool(off)) for off, name, value in found}


def test_the_example_names_what_there_is_with_its_default(tmp_path: Path) -> None:
    known = {settings.PREFIX + f.name.upper() for f in fields(Settings)}
    active = {name: value for name, (value, off) in examples().items() if not off}
    assert active
    assert set(active) <= known
    assert load(tmp_path, {}, active) == Settings(), "the defaults are shown"
    assert set(examples()) - set(active) <= known | settings._ELSEWHERE | set(STANDARD.values())
