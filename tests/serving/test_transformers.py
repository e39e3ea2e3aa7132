"""The transformers backend: real model classes, alone and together, with modules of the workspace in their place."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types import CompletionChoice

from tests.serving.servers import LONG_S, client, running
from warpsmith.model.harness import Server
from warpsmith.serving.process import ServerFailed

PROMPTS = ("hello", "a", "a prompt that is a good deal longer than the others, so that these are padded", "xyz 123")
NORM = """
    import torch

    calls = 0

    class Norm(torch.nn.Module):
        def __init__(self, of):
            super().__init__()
            self.weight, self.epsilon = of.weight, of.variance_epsilon

        def forward(self, x):
            global calls
            calls += 1
            return {scale} * torch.nn.functional.rms_norm(x, (x.shape[-1],), self.weight, self.epsilon)

    def install(model):
        replaced = 0
        for parent in list(model.modules()):
            for name, child in parent.named_children():
                if type(child).__name__ == "LlamaRMSNorm":
                    setattr(parent, name, Norm(child))
                    replaced += 1
        return f"{{replaced}} norms"
"""


def server(**options: Any) -> Server:
    return Server(backend="transformers", options={"threads": 1, **options}, ready_s=180, drain_s=LONG_S)


def ask_for(ask: openai.OpenAI, prompt: str, tokens: int = 12) -> CompletionChoice:
    said = ask.completions.create(model="model", prompt=prompt, max_tokens=tokens, temperature=0, logprobs=1)
    return said.choices[0]


def tokens_of(choice: Any) -> list[int]:
    found: list[int] = choice.model_extra["token_ids"]
    return found


def together(ask: openai.OpenAI, prompts: tuple[str, ...]) -> list[CompletionChoice]:
    """All at once, with answers of different lengths."""
    found: dict[int, CompletionChoice] = {}

    def one(at: int) -> None:
        found[at] = ask_for(ask, prompts[at], 12 + 3 * (at % 3))

    asking = [threading.Thread(target=one, args=(at,)) for at in range(len(prompts))]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    return [found[at] for at in range(len(prompts))]


@pytest.mark.slow
def test_requests_together_get_what_each_gets_alone(tmp_path: Path) -> None:
    (tmp_path / "norm.py").write_text(textwrap.dedent(NORM).format(scale=1.0))
    with running(tmp_path, server(install="norm", max_batch=3)) as started, client(started) as ask:
        assert "norm installed: 5 norms" in started.log.read_text()
        alone = [ask_for(ask, prompt) for prompt in PROMPTS]
        assert len({tuple(tokens_of(choice)) for choice in alone}) == 4 < len(set(tokens_of(alone[0])))
        for at, choice in enumerate(together(ask, PROMPTS * 2)):
            right = alone[at % 4]
            assert tokens_of(choice)[:12] == tokens_of(right)
            assert right.logprobs and right.logprobs.token_logprobs and choice.logprobs
            assert choice.logprobs.token_logprobs
            assert choice.logprobs.token_logprobs[:12] == pytest.approx(right.logprobs.token_logprobs, abs=1e-4)
        messages: Any = [{"role": "user", "content": "hello"}]
        said = ask.chat.completions.create(model="model", messages=messages, max_tokens=8, temperature=0)
        with ask.chat.completions.create(
            model="model", messages=messages, max_tokens=8, temperature=0, stream=True
        ) as stream:
            chunks = [chunk.choices[0] for chunk in stream]
        assert "".join(c.delta.content or "" for c in chunks) == said.choices[0].message.content
        assert [t for c in chunks for t in (c.model_extra or {}).get("token_ids", [])] == tokens_of(said.choices[0])
        drawn = [
            ask.completions.create(model="model", prompt="a", max_tokens=12, temperature=1, top_p=0.9, seed=seed)
            for seed in (1, 1, 2)
        ]
        first, again, other = (tokens_of(one.choices[0]) for one in drawn)
        assert first == again != other
        assert started.stop().status == 0


@pytest.mark.slow
def test_a_module_of_the_workspace_that_is_wrong_says_other_tokens(tmp_path: Path) -> None:
    found = []
    for name, options in (("plain", {}), ("right", {"install": "norm:install"}), ("wrong", {"install": "norm"})):
        (tmp_path / name).mkdir()
        scale = 1.5 if name == "wrong" else 1.0
        (tmp_path / name / "norm.py").write_text(textwrap.dedent(NORM).format(scale=scale))
        with running(tmp_path / name, server(**options)) as started, client(started) as ask:
            found.append([tokens_of(ask_for(ask, prompt)) for prompt in PROMPTS])
    plain, right, wrong = found
    assert plain == right != wrong


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["qwen3", "mistral", "gemma2"])
def test_other_architectures_and_static_batches_give_the_same_alone_and_together(
    tmp_path: Path, architecture: str
) -> None:
    said = server(architecture=architecture, batching="static", max_batch=4)
    with running(tmp_path, said) as started, client(started) as ask:
        alone = [tokens_of(ask_for(ask, prompt)) for prompt in PROMPTS]
        assert [tokens_of(c)[:12] for c in together(ask, PROMPTS)] == alone


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"install": "nothing_here"}, "install = 'nothing_here': No module named 'nothing_here'"),
        ({"architecture": "nothing"}, "the transformers backend: Unrecognized model identifier: nothing"),
        ({"architecture": "mamba"}, "the model keeps no key-value cache in every layer"),
    ],
)
def test_what_cannot_be_served_is_told_in_the_log(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with running(tmp_path, server(**options), ready=False) as started:
        with pytest.raises(ServerFailed, match=r"ended by itself with status 1"):
            started.wait_ready()
        assert said in started.log.read_text()


SNAPSHOT = """
    import sys, torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = sys.argv[1]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    every = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<end>"], initial_alphabet=every)
    bpe.train_from_iterator(["the quick brown fox, ünïcödé €"] * 3, trainer)
    tokens = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<end>")
    tokens.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
    tokens.save_pretrained(folder)
    torch.manual_seed(3)
    shape = dict(hidden_size=64, intermediate_size=128, num_hidden_layers=1, num_attention_heads=2)
    more = dict(num_key_value_heads=1, max_position_embeddings=77, initializer_range=0.2)
    config = LlamaConfig(vocab_size=len(tokens), **shape, **more)
    config.eos_token_id = tokens.eos_token_id
    model = LlamaForCausalLM(config).eval()
    model.save_pretrained(folder)
    asked = tokens("the quick €", return_tensors="pt")
    said = model.generate(**asked, max_new_tokens=10, do_sample=False)[0, asked.input_ids.shape[1]:].tolist()
    print(asked.input_ids.shape[1], tokens.decode(said, skip_special_tokens=True).encode().hex() or "-", *said)
"""


@pytest.mark.slow
def test_a_snapshot_is_served_as_its_own_classes_generate(tmp_path: Path) -> None:
    snapshot = tmp_path / "snapshot"
    made = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SNAPSHOT), str(snapshot)], capture_output=True, text=True, check=True
    )
    length, text, *tokens = made.stdout.split()
    with running(tmp_path, server(dtype="float32"), files=snapshot) as started, client(started) as ask:
        said = ask.completions.create(model="model", prompt="the quick €", max_tokens=10, temperature=0)
        assert tokens_of(said.choices[0]) == [int(t) for t in tokens if int(t) != 0]
        assert said.choices[0].text.encode().hex() == text.replace("-", "")
        assert said.usage and said.usage.prompt_tokens == int(length)
        with ask.completions.create(
            model="model", prompt="the quick €", max_tokens=10, temperature=0, stream=True
        ) as stream:
            assert "".join(chunk.choices[0].text for chunk in stream) == said.choices[0].text
        messages: Any = [{"role": "user", "content": "the quick"}]
        chat = ask.chat.completions.create(model="model", messages=messages, max_tokens=4, temperature=0)
        same = ask.completions.create(model="model", prompt="<user>the quick<assistant>", max_tokens=4, temperature=0)
        assert chat.usage == same.usage and chat.choices[0].message.content == same.choices[0].text
        with pytest.raises(openai.BadRequestError, match="the context has 77 tokens"):
            ask.completions.create(model="model", prompt="a", max_tokens=77)
