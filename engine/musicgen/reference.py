"""The audiocraft backend: the same requests, decoded by ``audiocraft.models.MusicGen`` from the same checkpoint.

For whoever wants the reference beside this project's own decoder, or a melody model, which only audiocraft runs. audiocraft is
installed apart (``scripts/install-audiocraft``), since its pins forbid a current torch. A take is decoded in one go: audiocraft
keeps its state in the model, so takes can't advance in turn.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.musicgen import checkpoint
from engine.musicgen.audiocraft_files import CODEC_FILE, LM_FILE, TEXT_ENCODER_FOLDER, import_audiocraft, lm_settings, lm_state
from engine.musicgen.checkpoint import CheckpointError
from engine.musicgen.generate import MusicGen, check_frames, heard_of, stride_of
from engine.musicgen.sampling import SamplingOptions

INSTALL = "audiocraft is not installed: run scripts/install-audiocraft with this environment's pip, or set ENGINE_BACKEND=native"
_SLIVER = 1e-3
"""Added to frames where audiocraft counts in seconds, so that its rounding down gives the same frames back."""


class AudiocraftMissing(CheckpointError):
    """audiocraft can't be imported; the message names the step that installs it."""


def load(name_or_folder: str | Path, device: str | torch.device = "cpu") -> Reference:
    """A transformers folder, a hub name, a folder with audiocraft's pair of files, or a melody model by its hub name.

    Raises AudiocraftMissing, and CheckpointError as ``checkpoint.load`` does.
    """
    _require_audiocraft()
    folder = Path(name_or_folder).expanduser()
    if (folder / LM_FILE).is_file():
        if (folder / TEXT_ENCODER_FOLDER).is_dir():
            return build(import_audiocraft(folder, device=device))
        return _from_audiocraft(str(folder), (folder / LM_FILE, folder / CODEC_FILE), device)
    if checkpoint.kind_of(name_or_folder) == "musicgen_melody":
        return _from_audiocraft(str(name_or_folder), (), device)
    return build(checkpoint.load(name_or_folder, device=device))


def build(model: MusicGen) -> Reference:
    """``audiocraft.models.MusicGen`` with the weights, codec and text encoder of ``model``. Raises AudiocraftMissing."""
    _require_audiocraft()
    from audiocraft.models import LMModel
    from audiocraft.models.encodec import CompressionModel
    from audiocraft.models.musicgen import MusicGen as AudiocraftMusicGen
    from audiocraft.modules.codebooks_patterns import DelayedPatternProvider
    from audiocraft.modules.conditioners import ConditionFuser, ConditioningProvider, T5Conditioner, TextConditioner
    from audiocraft.modules.transformer import set_efficient_attention_backend
    from audiocraft.utils.autocast import TorchAutocast

    class LocalT5(T5Conditioner):
        """audiocraft's conditioner on a T5 that is in memory; its own constructor takes T5 from the hub."""

        def __init__(self) -> None:
            conditioner = model.conditioner
            TextConditioner.__init__(self, conditioner.text_encoder.config.d_model, conditioner.width)
            self.device = str(model.device)
            self.finetune = False
            self.word_dropout = 0.0
            self.normalize_text = False
            self.autocast = TorchAutocast(enabled=False)
            self.t5_tokenizer = conditioner.tokenizer
            self.__dict__["t5"] = conditioner.text_encoder  # not a submodule: it is no weight of the language model

    class OurCodec(CompressionModel):
        """Any codec of this project, in audiocraft's shapes ``[B, C, N]`` and ``[B, K, T]``."""

        channels = model.channels
        sample_rate = model.sample_rate
        frame_rate = model.frame_rate
        cardinality = model.card
        num_codebooks = total_codebooks = model.num_codebooks

        def forward(self, x: Tensor) -> Any:
            raise NotImplementedError("only encode and decode")

        def encode(self, x: Tensor) -> tuple[Tensor, None]:
            return torch.stack([model.codec.encode(audio) for audio in x]), None

        def decode(self, codes: Tensor, scale: Tensor | None = None) -> Tensor:
            return torch.stack([model.codec.decode(row) for row in codes])

        def decode_latent(self, codes: Tensor) -> Tensor:
            raise NotImplementedError("only encode and decode")

        def set_num_codebooks(self, n: int) -> None:
            assert n == self.num_codebooks

    class AnyWindow(AudiocraftMusicGen):
        """audiocraft sets a stride of 18 s while it is made, and refuses windows below that."""

        def set_generation_params(self, **options: Any) -> None:
            super().set_generation_params(**{"extend_stride": 0.5 * self.max_duration, **options})

    set_efficient_attention_backend("torch")
    settings = lm_settings(model)
    options = {name: value for name, value in settings["transformer_lm"].items() if name != "n_q"}
    lm = LMModel(
        DelayedPatternProvider(model.num_codebooks, delays=list(model.lm.config.delays)),
        ConditioningProvider({"description": LocalT5()}, device=model.device),
        ConditionFuser(settings["fuser"]),
        n_q=model.num_codebooks,
        cross_attention=True,
        cfg_coef=3.0,
        **options,
    )
    lm.load_state_dict(lm_state(model))
    lm.to(model.device).requires_grad_(False)
    window_s = (model.window_frames + _SLIVER) / model.frame_rate
    return Reference(AnyWindow(model.name, OurCodec(), lm, max_duration=window_s), source=model)


def _from_audiocraft(name: str, files: tuple[Path, ...], device: str | torch.device) -> Reference:
    """What audiocraft loads by itself, with its own T5 and codec."""
    from audiocraft.models.musicgen import MusicGen as AudiocraftMusicGen
    from audiocraft.modules.transformer import set_efficient_attention_backend

    set_efficient_attention_backend("torch")
    try:
        return Reference(AudiocraftMusicGen.get_pretrained(name, device=str(device)), files=files)
    except OSError as error:
        reason = (str(error).splitlines() or ["?"])[0][:200]
        raise CheckpointError(f"audiocraft can't load {name}: {reason}; connect to the internet once, or give a folder") from error


class Reference:
    """The same face as ``MusicGen``: sizes, and ``start``."""

    def __init__(self, inner: Any, *, source: MusicGen | None = None, files: tuple[Path, ...] = ()) -> None:
        self.inner = inner
        """audiocraft's MusicGen"""
        self._source = source
        self._files = files
        self.name = str(inner.name)
        self.sample_rate = int(inner.sample_rate)
        self.frame_rate = float(inner.frame_rate)
        self.channels = int(inner.audio_channels)
        self.num_codebooks = int(inner.lm.num_codebooks)
        self.card = int(inner.lm.card)
        self.window_frames = int(inner.max_duration * self.frame_rate)
        self.default_sampling = source.default_sampling if source else SamplingOptions()

    @property
    def decodes_with(self) -> str:
        return "fp32, audiocraft"

    @property
    def batch(self) -> object:
        return self

    def advance(self, takes: Sequence[ReferenceTake]) -> None:
        """One after the other, each to its end."""
        for take in takes:
            take.step()

    @cached_property
    def parameters(self) -> int:
        if self._source is not None:
            return self._source.parameters
        return sum(p.numel() for module in (self.inner.lm, self.inner.compression_model) for p in module.parameters())

    @cached_property
    def sha256(self) -> str:
        """As ``MusicGen.sha256``; of the tensors where audiocraft fetched the files itself."""
        if self._source is not None:
            return self._source.sha256
        digest = hashlib.sha256()
        for file in self._files:
            digest.update(file.read_bytes())
        if not self._files:
            for tensor in self.inner.lm.state_dict().values():
                digest.update(tensor.cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def start(
        self,
        *,
        prompt: str | None,
        frames: int,
        sampling: SamplingOptions,
        seed: int,
        prompt_audio: Tensor | None = None,
    ) -> ReferenceTake:
        """As ``MusicGen.start``, errors too. With top-p, audiocraft does not look at top-k."""
        check_frames(frames, self.frame_rate)
        heard: Tensor | None = None
        if prompt_audio is not None:
            hop = round(self.sample_rate / self.frame_rate)
            heard = heard_of(prompt_audio, channels=self.channels, hop_samples=hop, window_frames=self.window_frames)
        text = prompt if prompt and prompt.strip() else None
        return ReferenceTake(self, _Request(text, frames, sampling, seed, heard))


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    prompt: str | None
    frames: int
    sampling: SamplingOptions
    seed: int
    heard: Tensor | None  # [C, P × hop]


class ReferenceTake:
    """The same face as ``TakeDecoder``; its one ``step`` decodes everything."""

    def __init__(self, reference: Reference, request: _Request) -> None:
        self.of_frames = request.frames
        self._reference = reference
        self._request = request
        self._codes: Tensor | None = None  # (K, frames)
        self._audio: Tensor | None = None  # (C, N)

    @property
    def frames(self) -> int:
        return self.of_frames if self.done else 0

    @property
    def done(self) -> bool:
        return self._audio is not None

    @torch.no_grad()
    def step(self) -> None:
        """Decode the whole take. audiocraft draws from torch's global generator, which is put back afterwards."""
        assert not self.done, "the take is done"
        inner, request = self._reference.inner, self._request
        rate, hop = self._reference.frame_rate, round(self._reference.sample_rate / self._reference.frame_rate)
        heard = request.heard
        prompt_frames = 0 if heard is None else heard.shape[1] // hop
        inner.set_generation_params(
            use_sampling=request.sampling.temperature > 0,
            temperature=request.sampling.temperature or 1.0,
            top_k=min(request.sampling.top_k, self._reference.card),  # more than there are is an error in audiocraft
            top_p=request.sampling.top_p,
            cfg_coef=request.sampling.guidance_scale,
            duration=(prompt_frames + request.frames + _SLIVER / 2) / rate,
            extend_stride=(stride_of(self._reference.window_frames) + _SLIVER) / rate,
        )
        devices = [inner.device] if inner.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(request.seed)
            if heard is not None:
                audio, codes = inner.generate_continuation(heard[None], self._reference.sample_rate, [request.prompt], return_tokens=True)
            elif request.prompt is not None:
                audio, codes = inner.generate([request.prompt], return_tokens=True)
            else:
                audio, codes = inner.generate_unconditional(1, return_tokens=True)
        self._codes = codes[0, :, prompt_frames:]  # (1, K, P + frames) -> (K, frames)
        self._audio = audio[0, :, prompt_frames * hop :].float().cpu()  # (1, C, N) -> (C, frames × hop)

    def decode_ahead(self) -> None:
        """Nothing: audiocraft decodes the sound with the codes."""

    def close(self) -> None:
        """Nothing is kept."""

    def codes(self) -> Tensor:
        """New codes ``[K, frames]``; none before the step."""
        if self._codes is None:
            return torch.zeros(self._reference.num_codebooks, 0, dtype=torch.long)
        return self._codes

    def audio(self) -> Tensor:
        """The new audio ``[C, N]``, float32, after what was heard."""
        assert self._audio is not None, "the take is not done"
        return self._audio


def _require_audiocraft() -> None:
    if importlib.util.find_spec("audiocraft") is None:
        raise AudiocraftMissing(INSTALL)
    # xformers, which audiocraft imports, says at length that its CUDA code is of another torch; nothing here runs it.
    logging.getLogger("xformers").setLevel(logging.ERROR)
