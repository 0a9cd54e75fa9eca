"""A whole report as a real run would fill it, for the tests and for judging the page by eye.

The figures are made up.
"""

import random

from kd2deploy.core.estimate import Estimate, estimate, needs
from kd2deploy.core.lengths import LengthMedian
from kd2deploy.core.losses import DropLink
from kd2deploy.core.roofline import Peaks, Reached
from kd2deploy.core.speedups import Speedup
from kd2deploy.core.tried import Tried
from kd2deploy.core.verdict import GateResult, Outcome, Verdict
from kd2deploy.report import (
    ArtifactRecord,
    Candidate,
    Curve,
    CurvePoint,
    DataInfo,
    Distillation,
    EndToEnd,
    Finding,
    Floor,
    Latency,
    LayerMap,
    Measurement,
    Report,
    Role,
    SeedResult,
    StageTime,
    TaskInfo,
    thinned,
)

HOSTILE = "<script>alert(1)</script> | `a` *b* [red]"
"""A label that must be shown as it is everywhere."""
DEPLOYED = "student, ONNX int8"
SHA = {name: f"{place:x}" * 8 + "0123456789abcdef" * 3 + "89abcdef" for place, name in enumerate("tefscoqk", 1)}


def timing(median: float, samples: int = 900, noise: float = 0.05, flagged: bool = False) -> Latency:
    """Log-normal latencies with a few slow ones."""
    source = random.Random(median)
    raw = [median * source.lognormvariate(0, noise) * (1.6 if source.random() < 0.015 else 1.0) for _ in range(samples)]
    ordered = sorted(raw)
    mean = sum(raw) / samples
    spread = (sum((one - mean) ** 2 for one in raw) / samples) ** 0.5 / mean

    def at(share: float) -> Estimate:
        value = ordered[int(share * samples)]
        return estimate(value, value * (1 - noise / 6), value * (1 + noise / 5))

    return Latency(
        median=at(0.5),
        p90=at(0.9),
        p99=at(0.99) if samples >= 662 else needs(662),
        samples=samples,
        samples_ms=thinned(raw),
        least_ms=ordered[0],
        cpu_ms=1.9 * median,
        cv=spread,
        cv_flagged=flagged,
        processes=3,
        includes="host clock, copies in and out",
        throughput_per_s=estimate(1000 / median * 6.1, 1000 / median * 6.0, 1000 / median * 6.2),
        throughput_batch=32,
        cold_start_s=median / 60,
        peak_memory_mb=220 + median * 12,
        settled=not flagged,
        by_length=tuple(
            LengthMedian(least, most, 85, estimate(share * median, share * median * 0.98, share * median * 1.03))
            for least, most, share in ((9, 24, 0.7), (25, 51, 1.0), (52, 128, 1.9))
        ),
        end_to_end=EndToEnd(
            estimate(median + 0.62, median + 0.6, median + 0.65),
            estimate(1.3 * median + 0.62, 1.29 * median, 1.31 * median + 0.7),
            0.55,
            median,
            0.07,
            220,
        ),
    )


def contender(
    name: str, role: Role, runtime: str, precision: str, score: float, median: float, size_mb: float, key: str
) -> Measurement:
    labels = {"negative": score + 0.012, "positive": score - 0.006, HOSTILE: score - 0.061}
    return Measurement(
        name=name,
        role=role,
        precision=precision,
        runtime=runtime,
        provider="CPUExecutionProvider" if runtime == "ONNX Runtime" else "",
        sha256=SHA[key],
        size_mb=size_mb,
        parameters=109_486_854 if "teacher" in role else 14_350_248,
        metric=estimate(score, score - 0.0131, score + 0.0126),
        metrics={"accuracy": score, "macro F1": score - 0.014, "log loss": 0.9 - score / 1.4},
        classes=labels,
        worst_class=HOSTILE,
        timing=timing(
            median,
            samples=900 if "eager" not in name else 320,
            noise=0.05 if role != "control" else 0.09,
            flagged=role == "control",
        ),
        reached=Reached(
            *(7.2, 7.2e3 / median, 7.2e3 / median / (720 if precision == "int8" else 210)),
            *(7.2e3 / size_mb, size_mb / median / 21.0, "compute"),
        ),
        deployed=name == DEPLOYED,
        session={"provider": "CPUExecutionProvider", "threads": "2", "nodes on provider": "412 of 412"},
    )


def curve(role: Role, seed: int, top: float) -> Curve:
    source = random.Random(seed)
    points = []
    for epoch in range(1, 7):
        losses = {"loss": 1.4 / epoch + 0.1, "task": 0.6 / epoch + source.random() / 20}
        if role == "student":
            losses |= {"soft": 0.9 / epoch, "hidden": 0.2 + 0.5 / epoch**0.5}
        points.append(CurvePoint(epoch, losses, top - 0.12 / epoch**1.4 + source.uniform(-0.003, 0.003)))
    return Curve(f"{role}, seed {seed}", role, tuple(points), seed)


def example(outcome: Outcome = Outcome.PASS) -> Report:
    """Every section filled."""
    sentences = {
        "PASS": "The student is 4.6x faster than the teacher and loses 0.62 points of accuracy, within both limits.",
        "FAIL": "The student is 2.1x faster than the teacher where 4.0x was asked; its accuracy is within the limit.",
        "INCONCLUSIVE": "Too noisy to tell: the speed-up lies between 3.7x and 4.4x, and the limit is 4.0x.",
        "INVALID": "The asked execution provider was not active, so no figure of this run may be used.",
    }
    speedup = {
        "PASS": estimate(4.61, 4.52, 4.7),
        "FAIL": estimate(2.11, 2.07, 2.16),
        "INCONCLUSIVE": estimate(4.02, 3.7, 4.4),
        "INVALID": estimate(1.01, 0.99, 1.03),
    }[outcome]
    link = [
        ("teacher", 0.9243, None, {}),
        ("student", 0.9201, (-0.0042, -0.0101, 0.0016), {"top1": 0.951, "cosine": 0.9824}),
        ("ONNX", 0.9201, (0.0, -0.0004, 0.0004), {"top1": 1.0, "cosine": 0.999999}),
        ("fused", 0.9201, (0.0, -0.0004, 0.0004), {"top1": 1.0, "cosine": 0.999998}),
        ("int8", 0.9181, (-0.0020, -0.0048, 0.0007), {"top1": 0.989, "cosine": 0.9968}),
    ]
    return Report(
        title="Support tickets: BERT base to a 4-layer student",
        verdict=Verdict(
            outcome,
            sentences[outcome],
            gates=(
                GateResult(
                    "max_drop",
                    "at_most",
                    0.01,
                    "points",
                    estimate(0.0062, 0.0011, 0.0094),
                    Outcome.PASS,
                    "The deployed student loses 0.62 points; even at the pessimistic end it keeps the limit.",
                ),
                GateResult(
                    "min_speedup",
                    "at_least",
                    4.0,
                    "ratio",
                    speedup,
                    outcome,
                    "Against the eager teacher, by median latency on the same inputs.",
                ),
                GateResult(
                    "p99_ms",
                    "at_most",
                    20,
                    "ms",
                    estimate(17.5, 16.9, 18.3),
                    Outcome.PASS,
                    "The tail keeps the budget.",
                ),
                GateResult("max_size_mb", "at_most", 20, "mb", estimate(14.6), Outcome.PASS, "The file on disk."),
            ),
        ),
        target="cpu",
        target_about="x86-64 laptop or server, ONNX Runtime",
        workload="batch 1, lengths drawn from the evaluation set",
        task=TaskInfo("text_classification", "accuracy", labels=("negative", "positive", HOSTILE), counted_in="tokens"),
        data=DataInfo(
            source="data/tickets.csv",
            train_rows=12_000,
            eval_rows=1_824,
            overlap=3,
            sha256=SHA["k"],
            details={"longest text (tokens)": 187, "median text (tokens)": 31},
            warnings=("3 evaluation rows also stand in the training set; they were left out of the score.",),
        ),
        contenders=(
            contender("teacher, eager", "teacher", "PyTorch eager", "fp32", 0.9243, 58.4, 438.0, "t"),
            contender("teacher, ONNX int8", "teacher_same_runtime", "ONNX Runtime", "int8", 0.9216, 31.2, 110.3, "e"),
            contender("control, ONNX int8", "control", "ONNX Runtime", "int8", 0.9034, 12.72, 14.6, "c"),
            contender("student, ONNX fp32", "student", "ONNX Runtime", "fp32", 0.9201, 19.9, 57.5, "o"),
            contender("student, ONNX int8", "student", "ONNX Runtime", "int8", 0.9181, 12.67, 14.6, "q"),
            contender("student, OpenVINO", "variant", "OpenVINO", "fp32", 0.9201, 17.1, 57.9, "s"),
        ),
        floors=(
            Floor("the commonest answer", Estimate(0.31, 0.30, 0.32), 12_000),
            Floor("TF-IDF with a linear model", Estimate(0.86, 0.85, 0.87), 12_000),
        ),
        tried=(
            Tried("onnx", "slower", "fp32", 0.921, 19.4, ratio=estimate(1.55, 1.48, 1.63), against=DEPLOYED, rounds=3),
            Tried(DEPLOYED, "deployed", "int8", 0.919, 12.6, rounds=24),
            Tried("openvino", "raced", "fp32", 0.921, 12.8, None, estimate(1.02, 0.99, 1.05), DEPLOYED, 24),
            Tried("onnx-qdq", "inaccurate", "int8", 0.874),
            Tried("tensorrt_fp16", "left_out", reason="no NVIDIA device on this machine"),
        ),
        speedups=(
            Speedup("eager", speedup, "teacher, eager", gates=True, end_to_end=estimate(4.4, 4.3, 4.5)),
            Speedup("same_runtime", estimate(2.46, 2.41, 2.52), "teacher, ONNX int8"),
        ),
        drop_chain=tuple(
            DropLink(
                step,
                estimate(score, score - 0.0125, score + 0.012),
                estimate(*delta) if delta else None,
                agreement,
                SHA[key],
            )
            for (step, score, delta, agreement), key in zip(link, "tsofq", strict=True)
        ),
        distillation=Distillation(
            method="rail_kd(dim=128) + logit(temperature=4)",
            teacher=0.9243,
            seeds=(SeedResult(0, 0.9201, 0.9052), SeedResult(1, 0.9189, 0.9031), SeedResult(2, 0.9213, 0.9068)),
            gain=estimate(0.0151, 0.0127, 0.0172),
            gap_closed=estimate(0.78, 0.61, 0.93),
            student_spread=0.0012,
            control_spread=0.0019,
            sentence="With the teacher the same network scores 1.51 points more than without it.",
        ),
        curves=tuple(
            curve(role, seed, top) for role, top in (("student", 0.921), ("control", 0.906)) for seed in (0, 1, 2)
        ),
        candidates=tuple(
            Candidate(
                f"{layers} layers, {hidden} wide",
                {"layers": layers, "hidden": hidden},
                int(layers * hidden**2 * 12 + 30_522 * hidden),
                estimate(median, median * 0.98, median * 1.02),
                estimate(58.4 / median, 58.4 / median * 0.97, 58.4 / median * 1.03),
                verdict,
                reason,
            )
            for layers, hidden, median, verdict, reason in (
                (6, 768, 29.6, "rejected", "2.0x at most; the gate asks 4.0x"),
                (6, 384, 15.2, "rejected", "3.8x, the pessimistic end misses 4.0x"),
                (4, 384, 12.6, "chosen", "the largest that passes the speed gate"),
                (4, 256, 7.1, "kept", "passes, but is smaller"),
                (2, 256, 3.9, "kept", "passes, but is smaller"),
            )
        ),
        layer_map=LayerMap("uniform", (("1", "3"), ("2", "6"), ("3", "9"), ("4", "12"))),
        lineage=(
            ArtifactRecord("teacher", SHA["t"], None, "given", "fp32", 438.0),
            ArtifactRecord(
                "teacher, ONNX", SHA["e"], SHA["t"], "onnx_from_torch", "fp32", 438.2, details={"opset": 20}
            ),
            ArtifactRecord("student", SHA["s"], SHA["t"], "distill", "fp32", 57.4, details={"seed": 0, "epochs": 6}),
            ArtifactRecord("student, ONNX", SHA["o"], SHA["s"], "onnx_from_torch", "fp32", 57.5, details={"opset": 20}),
            ArtifactRecord("student, fused", SHA["f"], SHA["o"], "fused_from_onnx", "fp32", 57.5),
            ArtifactRecord(
                "student, int8",
                SHA["q"],
                SHA["f"],
                "int8_from_onnx",
                "int8",
                14.6,
                True,
                {"kept in fp32": "classifier", "calibration rows": 256},
            ),
        ),
        findings=(
            Finding(
                "4 of 61 matrix products are not quantized; they take 18 % of the time.",
                "name them in `include`, or lower the fp32 list of the quantizer.",
                "student, ONNX int8",
            ),
        ),
        warnings=("The control's latency is noisy (CV 9.8 %); its interval is wide, the verdict does not rest on it.",),
        left_out={"tensorrt_fp16": "no NVIDIA device on this machine"},
        machine={"processor": "AMD EPYC 9R14", "cores used": 2, "ISA": "AVX2, AVX-512, VNNI", "memory": "24 GiB"},
        peaks=Peaks(2, {"fp32": 210.0, "bf16": 380.0, "int8": 720.0}, 21.0),
        machine_before={"load": 0.21, "clock (MHz)": 3700, "temperature (C)": 51, "throttled": False},
        machine_after={"load": 1.98, "clock (MHz)": 3690, "temperature (C)": 58, "throttled": False},
        protocol={
            "clock": "host timer around a blocking run",
            "order": "teacher and student interleaved, ABBA",
            "processes": 3,
            "warm-up": "at least 200 ms and 10 runs",
            "intra-op threads": 2,
        },
        versions={"kd2deploy": "0.1.0", "torch": "2.13.0", "onnxruntime": "1.30.0", "python": "3.11.2"},
        seeds=(0, 1, 2),
        command="kd2deploy compress recipes/tickets.yaml --target cpu --speedup 4 --max-drop 0.01 --run runs/tickets",
        recipe="task: text_classification\nteacher: {from: models/tickets-bert}\ngates: {max_drop: 0.01}\n",
        started="2026-11-23T18:02:11+00:00",
        finished="2026-11-23T19:05:40+00:00",
        stages=(
            StageTime("prepare", 41.3),
            StageTime("plan", 63.9),
            StageTime("distill", 3_312.0),
            StageTime("export", 22.8),
            StageTime("measure", 361.4),
            StageTime("judge", 0.41),
            StageTime("report", 1.2, reused=True),
        ),
    )


def profile_alone() -> Report:
    """What `profile` knows: one artifact, timed and not judged."""
    model = contender("student, ONNX int8", "student", "ONNX Runtime", "int8", 0.9, 12.6, 14.6, "q")
    return Report(
        title="Profile of student.onnx",
        contenders=(
            Measurement(name=model.name, role="student", runtime=model.runtime, timing=timing(12.6, samples=80)),
        ),
        command="kd2deploy profile student.onnx",
    )
