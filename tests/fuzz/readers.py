"""Every way in which the program reads a file, by the kind of file: what fuzzing feeds with mutated ones."""

import importlib.util
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.torch import save
from small_bundle import small_bundle
from tiny_models import save_encoder
from tiny_speech import save_speech, spelt

from kd2deploy.core import build_task
from kd2deploy.core.rows import read_rows
from kd2deploy.core.watcher import Silent
from kd2deploy.data.files import files
from kd2deploy.data.prepare import prepare
from kd2deploy.errors import DataError
from kd2deploy.exporters.bundle import read_bundle, verify_sums, write_sums
from kd2deploy.flows.exported import EXPORTED, files_at, remember
from kd2deploy.flows.pack import FORMAT, manifest_of
from kd2deploy.networks.configuration import config_in, read_config
from kd2deploy.networks.ctc_vocabulary import CHARACTERS, vocabulary
from kd2deploy.networks.folder import check_folder
from kd2deploy.networks.frames import front_end
from kd2deploy.networks.hearing import FILE, hearing
from kd2deploy.networks.image_processor import processor, save_processor
from kd2deploy.networks.tokenizer import tokenizer
from kd2deploy.networks.weights import check_weights, weight_files
from kd2deploy.recipe import Recipe
from kd2deploy.recipe.from_flags import guessed, task_called
from kd2deploy.recipe.resolve import load_target, target_files
from kd2deploy.report import Report
from kd2deploy.run import Run, Stage
from kd2deploy.stages.convert import Exported
from kd2deploy.stages.job import model_at
from kd2deploy.tasks import _audio
from kd2deploy.tasks._images import opened, unreadable
from kd2deploy.train.checkpoint import locate


@dataclass(frozen=True)
class Subject:
    """A kind of file: a sound one, how it is changed (json, lines, yaml, bytes), and what reads it."""

    start: bytes
    changed: str
    read: Callable[[bytes], object]
    sound: bool = True
    """Whether the start itself can be read."""


TASK = build_task({"use": "text_classification", "labels": ["neg", "pos"], "max_length": 16})
TEXTS = [{"text": "a good film", "label": None}, {"text": "", "label": None}, {"text": "日本 😀 " * 40, "label": None}]
LEARNED = {"text": "text_classification", "image": "image_classification"}


def subjects(folder: Path) -> dict[str, Subject]:
    """All kinds, with what they need in `folder`."""
    bundle = small_bundle(folder)
    network = folder / "network"
    shutil.copytree(folder / "encoder", network)
    return {
        **of_texts(folder),
        **of_bundles(folder, bundle),
        **of_exports(folder, bundle),
        **of_networks(folder, network),
        **of_tables(folder),
        **of_pictures(folder),
        **of_speech(folder),
    }


def of_texts(folder: Path) -> dict[str, Subject]:
    recipe = {
        "task": {"use": "text_classification", "labels": ["bad", "good"], "max_length": 16},
        "data": {"use": "files", "train": "train.csv", "eval": "eval.csv", "text": "sentence"},
        "teacher": {"from": "body", "fine_tune": {"epochs": 2, "patience": 2, "score_every": 10}},
        "student": {"shrink": {"layers": 2, "hidden": 32}},
        "distill": [{"method": [{"use": "logit", "weight": 0.5}, {"use": "hidden"}], "epochs": 2, "batch": 8}],
        "seeds": [0, 1],
        "targets": ["cpu"],
        "gates": {"p99_ms": 10, "baseline": "same_runtime"},
        "measurement": {"processes": 4},
    }
    (folder / "texts").mkdir()

    def read_recipe(data: bytes) -> object:
        return Recipe.read(written(folder / "texts" / "recipe.yaml", data), as_data=True)

    def read_own_recipe(data: bytes) -> object:
        """As a person's own: code that they name may be imported, so what stands for it here is named otherwise."""
        return Recipe.read(written(folder / "texts" / "own.yaml", data.replace(b"attack_module", b"no_such_module")))

    def read_target(data: bytes) -> object:
        return load_target(str(written(folder / "texts" / "target.yaml", data)), as_data=True)

    def read_report(data: bytes) -> object:
        return Report.read(written(folder / "texts" / "report.json", data))

    report = Report(title="a", target="cpu", target_about="here", workload="batch 1").to_json().encode()
    start = yaml.safe_dump(recipe, sort_keys=False).encode()
    return {
        "recipe": Subject(start, "yaml", read_recipe),
        "recipe of one's own": Subject(start, "yaml", read_own_recipe),
        "target": Subject(target_files()["cpu"].read_bytes(), "yaml", read_target),
        "report": Subject(report, "json", read_report),
    }


def of_bundles(folder: Path, bundle: Path) -> dict[str, Subject]:
    manifest, sums = (bundle / "bundle.json").read_bytes(), (bundle / "SHA256SUMS").read_bytes()
    run = Run(folder / "run")
    with run.locked():
        stage = run.carry_out(Stage("one", {"a": 1}, {"b": "2"}, f"{__name__}.work"), Silent())
    stage_json = (stage.folder / "stage.json").read_bytes()
    rows = "\n".join(json.dumps({"text": f"row {at}", "label": at % 2, "image": {"file": "a.png"}}) for at in range(9))
    steps = [{"use": "onnx_from_torch"}]
    pack = {
        "format": FORMAT,
        "task": TASK.spec(),
        "target": {
            "name": "t",
            "about": "",
            "device": "cpu",
            "variants": {"a": {"steps": steps}},
        },
        "recipe": {},
        "about": "",
        "networks": [{"role": "student", "seed": 0, "folder": "student-0"}],
        "chosen_seed": 0,
        "splits": {"labels": ["a"], "warnings": [], "overlap": 0, "sha256": ""},
    }
    (folder / "pack" / "rows").mkdir(parents=True)

    def read_manifest(data: bytes) -> object:
        written(bundle / "SHA256SUMS", sums)
        written(bundle / "bundle.json", data)
        write_sums(bundle)
        try:
            return read_bundle(bundle)
        finally:
            written(bundle / "bundle.json", manifest)

    def read_sums(data: bytes) -> object:
        written(bundle / "SHA256SUMS", data)
        return verify_sums(bundle)

    def read_stage(data: bytes) -> object:
        written(stage.folder / "stage.json", data)
        found = run.reuse("one", stage.folder)
        assert found == json.loads(stage_json), "a record that was changed is believed"
        return found

    def read_pack_manifest(data: bytes) -> object:
        return manifest_of(written(folder / "pack" / "pack.json", data))

    def read_pack_rows(data: bytes) -> object:
        written(folder / "pack" / "rows" / "rows.jsonl", data)
        return read_rows(folder / "pack" / "rows")

    return {
        "bundle.json": Subject(manifest, "json", read_manifest),
        "SHA256SUMS": Subject(sums, "bytes", read_sums),
        "stage.json": Subject(stage_json, "json", read_stage),
        "pack.json": Subject(json.dumps(pack).encode(), "json", read_pack_manifest),
        "pack's rows": Subject(rows.encode(), "lines", read_pack_rows),
    }


def of_exports(folder: Path, bundle: Path) -> dict[str, Subject]:
    """What a folder of exported files remembers of them."""
    home, found = folder / "exported", read_bundle(bundle)
    place = home / found.artifact.path.name
    shutil.copytree(found.artifact.path, place)
    remember(home, model_at(folder / "encoder", TASK), [Exported("torch", (), replace(found.artifact, path=place))])

    def read_exports(data: bytes) -> object:
        written(home / EXPORTED, data)
        return files_at(home)

    return {EXPORTED: Subject((home / EXPORTED).read_bytes(), "json", read_exports)}


def of_networks(folder: Path, network: Path) -> dict[str, Subject]:
    sound = (network / "config.json").read_bytes()

    def read_config(data: bytes) -> object:
        written(network / "config.json", data)
        try:
            check_folder(network)
            config_in(network)
            return TASK.at(network).networks.load(network)
        finally:
            written(network / "config.json", sound)

    def read_tokenizer(name: str, start: bytes) -> Callable[[bytes], object]:
        def read(data: bytes) -> object:
            written(network / name, data)
            tokenizer.cache_clear()
            try:
                return TASK.reader.encode(TEXTS, network)
            finally:
                written(network / name, start)

        return read

    shards = folder / "shards"
    save_encoder(shards, labels=["neg", "pos"])
    index = json.dumps({"metadata": {}, "weight_map": {"a": "model.safetensors", "b": "model.safetensors"}}).encode()

    def read_index(data: bytes) -> object:
        written(shards / "model.safetensors.index.json", data)
        return weight_files(shards)

    def read_weights(data: bytes) -> object:
        return check_weights(written(folder / "weights.safetensors", data))

    adapter = folder / "adapter"
    adapter.mkdir()

    def read_adapter(data: bytes) -> object:
        written(adapter / "adapter_config.json", data.replace(b"base", b"./base"))
        return locate(str(adapter))

    pair = folder / "pair"
    for name in ("a", "b"):
        save_encoder(pair / name, labels=["neg", "pos"], layers=1)
    members = b'{"format": 1, "members": ["a", "b"], "combine": "mean_probability", "weights": [2, 1]}'

    def read_members(data: bytes) -> object:
        written(pair / "members.json", data)
        check_folder(pair)
        return TASK.at(pair).networks.load(pair)

    starts = {name: (network / name).read_bytes() for name in ("tokenizer.json", "tokenizer_config.json")}
    return {
        "members.json": Subject(members, "json", read_members),
        "config.json": Subject(sound, "json", read_config),
        "shard index": Subject(index, "json", read_index),
        "safetensors": Subject(save({"weight": torch.ones(2, 3)}), "bytes", read_weights),
        "adapter_config.json": Subject(
            b'{"base_model_name_or_path": "base", "peft_type": "LORA", "r": 4}', "json", read_adapter, sound=False
        ),
        **{name: Subject(start, "json", read_tokenizer(name, start)) for name, start in starts.items()},
    }


def of_tables(folder: Path) -> dict[str, Subject]:
    import pyarrow
    import pyarrow.parquet

    rows = [{"text": f'a "{word}" film, {at}', "label": at % 3} for at, word in enumerate(["good", "bad", "dull"] * 4)]
    stream = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), stream)
    quoted = "".join(f'"{row["text"]!s}",{row["label"]}\n'.replace(' "', ' ""').replace('" f', '"" f') for row in rows)
    starts = {
        "csv": ("text,label\n" + quoted).encode(),
        "tsv": ("text\tlabel\n" + "".join(f"{row['text']}\t{row['label']}\n" for row in rows)).encode(),
        "jsonl": "".join(json.dumps(row) + "\n" for row in rows).encode(),
        "json": json.dumps(rows).encode(),
        "parquet": stream.getvalue(),
    }
    evaluation = written(folder / "evaluation.jsonl", starts["jsonl"])

    def reader(ending: str) -> Callable[[bytes], object]:
        def read(data: bytes) -> object:
            file = written(folder / f"table.{ending}", data)
            kind = task_called("text_classification")
            columns = guessed(kind, file, {"text": None, "label": None})
            return prepare(files(str(file), str(evaluation), **columns), kind, {})

        return read

    changed = {"jsonl": "lines", "json": "json"}
    return {name: Subject(start, changed.get(name, "bytes"), reader(name)) for name, start in starts.items()}


def of_pictures(folder: Path) -> dict[str, Subject]:
    from PIL import Image

    array = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)
    found = {}

    def reader(ending: str) -> Callable[[bytes], object]:
        def read(data: bytes) -> object:
            file = written(folder / f"picture.{ending}", data)
            if said := unreadable(str(file)):
                raise DataError(said)
            return opened({"image": str(file), "index": 0}, 3)

        return read

    for ending in ("png", "jpeg", "gif", "webp", "bmp", "tiff"):
        stream = io.BytesIO()
        Image.fromarray(array).save(stream, ending)
        found[ending] = Subject(stream.getvalue(), "bytes", reader(ending))
    place = folder / "processor"
    place.mkdir()
    (place / "config.json").write_text(json.dumps({"model_type": "resnet", "num_channels": 3}))
    save_processor(place, 3, 8, 8)
    start = (place / "preprocessor_config.json").read_bytes()

    def read_processor(data: bytes) -> object:
        written(place / "preprocessor_config.json", data)
        processor.cache_clear()
        read = processor(place)
        return read.out, read.normalisation(3)

    found["preprocessor_config.json"] = Subject(start, "json", read_processor)
    return found


def work(spec: object, inputs: object, folder: Path, tell: object) -> dict[str, str]:
    """Of the stage whose record is damaged."""
    return {"path": str(written(folder / "x", b"1").parent)}


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def of_speech(folder: Path) -> dict[str, Subject]:
    """What a speech network's folder says of audio and symbols, and audio itself where its decoder is installed."""
    found = {}
    for family in ("wav2vec2", "parakeet_ctc"):
        net = save_speech(folder / family, family)

        def read_hearing(data: bytes, net: Path = net) -> object:
            written(net / FILE, data)
            return hearing.__wrapped__(net)

        def read_symbols(data: bytes, net: Path = net) -> object:
            written(net / CHARACTERS, data)
            known = vocabulary.__wrapped__(net)
            return known.spelt("ab c") if known else None

        def read_front_end(data: bytes, net: Path = net) -> object:
            written(net / "config.json", data)
            return front_end(read_config(net))

        sound = {name: (net / name).read_bytes() for name in (FILE, CHARACTERS, "config.json")}

        def restored(read: Callable[[bytes], object], net: Path = net, sound: dict[str, bytes] = sound) -> Any:
            def reads(data: bytes) -> object:
                for name, content in sound.items():
                    written(net / name, content)
                return read(data)

            return reads

        found |= {
            f"feature extractor of {family}": Subject(sound[FILE], "json", restored(read_hearing)),
            f"vocabulary of {family}": Subject(sound[CHARACTERS], "json", restored(read_symbols)),
            f"front end of {family}": Subject(sound["config.json"], "json", restored(read_front_end)),
        }
    if importlib.util.find_spec("soundfile"):
        found["audio"] = Subject(spelt("ab c"), "bytes", said_of)
    return found


def said_of(data: bytes) -> object:
    """What is wrong with the audio is said; nothing is raised."""
    if why := _audio.unreadable(data):
        raise DataError(why)
    return _audio.decoded(data)
