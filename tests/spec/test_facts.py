"""The shipped device and model files, held against figures and tensor lists that they were not computed from."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from specforge.diagnostics import SpecForgeError
from specforge.spec.device import Facts
from specforge.spec.facts import Device, Model, load_device, load_model

SPECS = Path(__file__).parents[2] / "specs"
DEVICES = ["h100_sxm", "h200_sxm", "jetson_thor", "rtx4090", "rtx5090", "rtx_pro_6000", "rtx_spark"]
MODELS = ["gemma4_26b_a4b", "qwen35_35b_a3b", "qwen3_30b_a3b"]

F32, F16, Q4_K, Q6_K = Fraction(4), Fraction(2), Fraction(144, 256), Fraction(210, 256)
Q8_0, Q5_0 = Fraction(34, 32), Fraction(22, 32)
Tensor = tuple[int, Fraction, Fraction]
"""Number of weights, bytes per weight, share of them that one token reads."""
ALL = Fraction(1)


def device(name: str) -> Device:
    return load_device(SPECS / "devices" / f"{name}.yaml")


def model(name: str) -> Model:
    return load_model(SPECS / "models" / f"{name}.yaml")


def size(loaded: Model, name: str) -> int:
    value = loaded.names[f"model.{name}"]
    assert isinstance(value, int)
    assert not isinstance(value, bool)
    return value


def step_bytes(loaded: Model, context: int) -> int:
    """Bytes of one decode step, as the comments of the model files say."""
    fixed = size(loaded, "step_fixed_bytes")
    if "model.kv_bytes_per_token_sliding" not in loaded.names:
        return fixed + size(loaded, "kv_bytes_per_token") * context
    window = min(context, size(loaded, "sliding_attention.window"))
    growing, sliding = size(loaded, "kv_bytes_per_token_global"), size(loaded, "kv_bytes_per_token_sliding")
    return fixed + growing * context + sliding * window


# --- tensor lists, layer by layer -------------------------------------------------------------------------------------


def more(i: int, n: int) -> bool:
    """llama-quantize's rule for which layers get the larger type in Q4_K_M."""
    return i < n // 8 or i >= 7 * n // 8 or (i - n // 8) % 3 == 2


def qwen3() -> Iterator[Tensor]:
    hidden, layers, active = 2048, 48, Fraction(8, 128)
    yield 151936 * hidden, Q4_K, Fraction(1, 151936)
    for i in range(layers):
        larger = Q6_K if more(i, layers) else Q4_K
        yield from ((2 * hidden, F32, ALL), (2 * 128, F32, ALL))  # block norms, head norms
        yield from ((hidden * 4096, Q4_K, ALL), (hidden * 512, Q4_K, ALL), (hidden * 512, larger, ALL))  # q, k, v
        yield 4096 * hidden, Q4_K, ALL
        yield hidden * 128, F32, ALL
        yield from ((2 * 128 * hidden * 768, Q4_K, active), (128 * hidden * 768, larger, active))
    yield from ((hidden, F32, ALL), (151936 * hidden, Q6_K, ALL))


def qwen35() -> Iterator[Tensor]:
    hidden, layers, active = 2048, 40, Fraction(8, 256)
    yield 248320 * hidden, Q4_K, Fraction(1, 248320)
    for i in range(layers):
        larger = Q6_K if more(i, layers) else Q4_K
        yield 2 * hidden, F32, ALL
        if i % 4 == 3:
            yield from ((hidden * 8192, Q4_K, ALL), (hidden * 512, Q4_K, ALL), (hidden * 512, larger, ALL))
            yield from ((2 * 256, F32, ALL), (4096 * hidden, Q4_K, ALL))
        else:
            yield from ((hidden * 8192, larger, ALL), (hidden * 4096, Q4_K, ALL), (2 * hidden * 32, Q4_K, ALL))
            yield from ((8192 * 4 + 32 + 32 + 128, F32, ALL), (4096 * hidden, Q4_K, ALL))
        yield from ((hidden * 256, F32, ALL), (hidden, F32, ALL))  # router, gate of the shared expert
        yield from ((2 * 256 * hidden * 512, Q4_K, active), (256 * hidden * 512, larger, active))
        yield from ((2 * hidden * 512, Q4_K, ALL), (hidden * 512, larger, ALL))
    yield from ((hidden, F32, ALL), (248320 * hidden, Q6_K, ALL))


def gemma4() -> Iterator[Tensor]:
    hidden, layers, active, values = 2816, 30, Fraction(8, 128), 0
    for i in range(layers):
        down = Q8_0 if more(i, layers) else Q5_0
        yield 7 * hidden + 1, F32, ALL
        if i % 6 == 5:
            yield from ((hidden * 8192, Q4_K, ALL), (hidden * 1024, Q4_K, ALL), (8192 * hidden, Q4_K, ALL))
            yield 2 * 512, F32, ALL
        else:
            value = Q6_K if more(values, 25) else Q4_K
            values += 1
            yield from ((hidden * 4096, Q4_K, ALL), (hidden * 2048, Q4_K, ALL), (hidden * 2048, value, ALL))
            yield from ((4096 * hidden, Q4_K, ALL), (2 * 256, F32, ALL))
        yield hidden * 128 + hidden + 128, F32, ALL
        yield from ((2 * 128 * hidden * 704, Q4_K, active), (128 * hidden * 704, down, active))
        yield from ((2 * hidden * 2112, Q4_K, ALL), (hidden * 2112, down, ALL))
    yield from ((hidden, F32, ALL), (262144 * hidden, Q6_K, ALL))


TENSORS = {"qwen3_30b_a3b": qwen3, "qwen35_35b_a3b": qwen35, "gemma4_26b_a4b": gemma4}
EMBEDDING_ROW = {"qwen3_30b_a3b": 2048, "qwen35_35b_a3b": 2048, "gemma4_26b_a4b": 2816}
"""Read for every token, but not counted among the active parameters."""


@pytest.mark.parametrize("name", MODELS)
def test_sizes_equal_the_sum_over_the_tensors(name):
    loaded, tensors = model(name), list(TENSORS[name]())
    tied = loaded.names["model.transformer.tied_embeddings"]
    row_bytes = EMBEDDING_ROW[name] * (Q6_K if tied else Q4_K)
    assert size(loaded, "file_weight_bytes") == sum(weights * per for weights, per, _ in tensors)
    read = sum(weights * per * share for weights, per, share in tensors) + (row_bytes if tied else 0)
    assert size(loaded, "active_weight_bytes") == read
    assert size(loaded, "embedding_row_bytes") == row_bytes
    assert size(loaded, "total_parameters") == sum(weights for weights, _, _ in tensors)
    used = sum(weights * share for weights, _, share in tensors) - (0 if tied else EMBEDDING_ROW[name])
    assert size(loaded, "active_parameters") == used


def test_layers_with_the_larger_type():
    assert size(model("qwen3_30b_a3b"), "block_types.down_q6_k_layers") == sum(more(i, 48) for i in range(48))
    assert size(model("qwen3_30b_a3b"), "block_types.value_q6_k_layers") == sum(more(i, 48) for i in range(48))
    qwen35 = model("qwen35_35b_a3b")
    assert size(qwen35, "block_types.down_q6_k_layers") == sum(more(i, 40) for i in range(40))
    assert size(qwen35, "block_types.value_q6_k_layers") == sum(more(i, 40) for i in range(3, 40, 4))
    assert size(qwen35, "block_types.linear_qkv_q6_k_layers") == sum(more(i, 40) for i in range(40) if i % 4 != 3)
    gemma4 = model("gemma4_26b_a4b")
    assert size(gemma4, "block_types.value_q6_k_layers") == sum(more(i, 25) for i in range(25))
    assert size(gemma4, "block_types.down_q8_0_layers") == sum(more(i, 30) for i in range(30))


# --- published figures, to their printed digits -----------------------------------------------------------------------

PUBLISHED = {  # parameters in all and active in thousand millions, file and weights per token in GB
    "qwen3_30b_a3b": ("30.532", "3.042", "18.551", "1.9196"),
    "qwen35_35b_a3b": ("34.661", "2.946", "21.156", "1.9757"),
    "gemma4_26b_a4b": ("25.233", "3.823", "16.780", "2.5957"),
}
STATE = {  # keys and values per token, recurrent state
    "qwen3_30b_a3b": (98_304, 0),
    "qwen35_35b_a3b": (20_480, 62_914_560 + 2_949_120),
    "gemma4_26b_a4b": (204_800 + 20_480, 0),
}
CONTEXTS = (128, 512, 2048, 4096, 16384, 32768, 262144)
MEGABYTES = {
    "qwen3_30b_a3b": "1932 1970 2121 2322 3530 5141 27689",
    "qwen35_35b_a3b": "2110 2118 2149 2191 2443 2779 7476",
    "gemma4_26b_a4b": "2625 2711 2848 2889 3141 3477 8174",
}
TOKENS_PER_SECOND = {
    ("qwen3_30b_a3b", "rtx5090"): "927 910 845 772 508 349 65",
    ("qwen3_30b_a3b", "rtx_pro_6000"): "927 910 845 772 508 349 65",
    ("qwen3_30b_a3b", "rtx_spark"): "141 139 129 118 77 53 9.9",
    ("qwen3_30b_a3b", "jetson_thor"): "141 139 129 118 77 53 9.9",
    ("qwen3_30b_a3b", "h100_sxm"): "1734 1700 1579 1443 949 652 121",
    ("qwen3_30b_a3b", "h200_sxm"): "2484 2437 2263 2067 1360 934 173",
    ("qwen35_35b_a3b", "rtx5090"): "849 846 834 818 734 645 240",
    ("qwen35_35b_a3b", "rtx_spark"): "129 129 127 125 112 98 37",
    ("qwen35_35b_a3b", "h100_sxm"): "1588 1582 1559 1529 1371 1206 448",
    ("qwen35_35b_a3b", "h200_sxm"): "2275 2266 2233 2190 1965 1728 642",
    ("gemma4_26b_a4b", "rtx5090"): "683 661 629 620 570 515 219",
    ("gemma4_26b_a4b", "rtx_spark"): "104 101 96 95 87 79 33",
    ("gemma4_26b_a4b", "h100_sxm"): "1276 1236 1176 1159 1066 964 410",
    ("gemma4_26b_a4b", "h200_sxm"): "1829 1770 1686 1661 1528 1381 587",
}
OFF_BY_ROUNDING = {("gemma4_26b_a4b", "rtx_spark", 4096): ("94", "95")}
"""Computed, published: 273 GB/s gives 94.48, and the unrounded 273.07 of LPDDR5X-8533 gives 94.503."""


@pytest.mark.parametrize("name", MODELS)
def test_published_sizes(name):
    loaded = model(name)
    total, active, file, read = PUBLISHED[name]
    assert f"{size(loaded, 'total_parameters') / 1e9:.3f}" == total
    assert f"{size(loaded, 'active_parameters') / 1e9:.3f}" == active
    assert f"{size(loaded, 'file_weight_bytes') / 1e9:.3f}" == file
    assert f"{size(loaded, 'active_weight_bytes') / 1e9:.4f}" == read
    assert (size(loaded, "kv_bytes_per_token"), size(loaded, "recurrent_state_bytes")) == STATE[name]


@pytest.mark.parametrize("name", MODELS)
def test_published_bytes_of_a_step(name):
    loaded = model(name)
    assert " ".join(f"{step_bytes(loaded, context) / 1e6:.0f}" for context in CONTEXTS) == MEGABYTES[name]


@pytest.mark.parametrize(("name", "card"), TOKENS_PER_SECOND)
def test_published_roofline(name, card):
    loaded, bandwidth = model(name), device(card).names["device.memory_bandwidth"]
    assert isinstance(bandwidth, float)
    for context, published in zip(CONTEXTS, TOKENS_PER_SECOND[name, card].split(), strict=True):
        rate = bandwidth / step_bytes(loaded, context)
        shown = f"{rate:.1f}" if rate < 10 else f"{rate:.0f}"
        assert (shown, published) == OFF_BY_ROUNDING.get((name, card, context), (published, published)), context


# --- the files themselves ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("folder", "names"), [("devices", DEVICES), ("models", MODELS)])
def test_every_shipped_file_is_tested(folder, names):
    assert sorted(path.stem for path in (SPECS / folder).glob("*.yaml")) == sorted(names)


@pytest.mark.parametrize("path", sorted(SPECS.glob("[dm][eo]*/*.yaml")), ids=lambda path: path.stem)
def test_editors_find_the_schema(path):
    kind, lines = path.parent.name.removesuffix("s"), path.read_text().splitlines()
    assert lines[0] == f"# yaml-language-server: $schema=../../schemas/{kind}.schema.json"
    assert lines[1] == f"# $schema: ../../schemas/{kind}.schema.json"
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize("name", DEVICES)
def test_device_is_consistent(name):
    loaded = device(name)
    facts, names = loaded.file.facts, loaded.names
    stated = [fact for key in Facts.model_fields if (fact := getattr(facts, key)) is not None]
    assert {fact.source for fact in stated} == set(loaded.file.sources), "a source that no fact uses"
    assert f"sm_{loaded.file.match.compute_capability.replace('.', '')}" == loaded.architecture
    # CUDA keeps 1 KiB of each multiprocessor's shared memory per block for itself.
    assert names["device.shared_per_multiprocessor"] == names["device.shared_per_block"] + 1024
    if facts.fp8_rate:
        assert facts.fp8_rate.value == pytest.approx(2 * facts.bf16_rate.value, rel=0.05)


def test_no_two_devices_match_one_card():
    names = [name for card in DEVICES for name in device(card).file.match.names]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", MODELS)
def test_model_is_consistent(name):
    names, loaded = model(name).names, model(name)
    kinds = [group for group in loaded.file.shapes if group.endswith("attention")]
    assert sum(size(loaded, f"{group}.layers") for group in kinds) == size(loaded, "transformer.layers")
    if "model.attention.period" in names:
        period, offset = size(loaded, "attention.period"), size(loaded, "attention.offset")
        full = [i for i in range(size(loaded, "transformer.layers")) if i % period == offset]
        assert len(full) == size(loaded, "attention.layers")
    if name != "gemma4_26b_a4b":
        assert names["model.attention.scale"] == pytest.approx(size(loaded, "attention.head_dim") ** -0.5, rel=1e-15)
    if "linear_attention" in loaded.file.shapes:
        heads = 2 * size(loaded, "linear_attention.k_heads") + size(loaded, "linear_attention.v_heads")
        assert size(loaded, "linear_attention.conv_channels") == heads * size(loaded, "linear_attention.head_dim")
    assert loaded.file.weights.synthetic is not None, "no hash is known of a file that nobody downloaded"
    assert {group["source"] for group in loaded.file.shapes.values()} == set(loaded.file.sources)


INFORMATIVE = ("rope_", "scale", "period", "offset", "logit_cap", "k_heads")
"""Numbers that no size depends on; test_model_is_consistent holds them against the others where it can."""


@pytest.mark.parametrize("name", MODELS)
def test_a_wrong_number_shows_in_a_published_size(name):
    loaded = model(name)
    shapes = loaded.file.shape_names()
    numbers = [key for key, value in shapes.items() if isinstance(value, int) and not isinstance(value, bool)]
    numbers = [key for key in numbers if not any(part in key.partition(".")[2] for part in INFORMATIVE)]
    assert len(numbers) > 15
    for key in numbers:
        names = {**shapes, key: int(shapes[key]) + 1}
        for derived, entry in loaded.file.derived.items():
            names[derived] = entry.value.evaluate(names)
        changed = {derived for derived in loaded.file.derived if names[derived] != loaded.names[f"model.{derived}"]}
        assert changed & {"total_parameters", "file_weight_bytes", "step_fixed_bytes", "kv_window_bytes"}, key


# --- what the loader refuses ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("device: rtx5090", "device: rtx5091", "SF206"),
        ("source: cuda_guide}", "source: cuda_gide}", "SF204"),
        ("certainty: A", "certainty: D", "SF204"),
        ('"96 MiB"', '"96 MHz"', "SF205"),
        ('"1792 GB/s"', "1792", "SF205"),
        ("multiprocessors: {value: 170,", "multiprocessors: {value: -1,", "SF203"),
    ],
)
def test_a_spoilt_device_is_refused_at_its_line(tmp_path, old, new, code):
    spoil(SPECS / "devices" / "rtx5090.yaml", tmp_path / "rtx5090.yaml", old, new)
    with pytest.raises(SpecForgeError) as caught:
        load_device(tmp_path / "rtx5090.yaml")
    assert_points_at(caught.value, tmp_path / "rtx5090.yaml", new, code)


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("model: qwen3_30b_a3b", "model: qwen3", "SF206"),
        ("    source: gguf", "    source: ggml", "SF204"),
        ("value: attention.layers * query_q4_k", "value: attention.layers * query_q5_k", "SF303"),
        ("value: transformer.layers * 3 * expert_matrix", "value: total_parameters * 3", "SF303"),  # declared later
        ("unit: B", "unit: MB", "SF204"),
        ("seed: 20261121", "seed: -1", "SF203"),
    ],
)
def test_a_spoilt_model_is_refused_at_its_line(tmp_path, old, new, code):
    spoil(SPECS / "models" / "qwen3_30b_a3b.yaml", tmp_path / "qwen3_30b_a3b.yaml", old, new)
    with pytest.raises(SpecForgeError) as caught:
        load_model(tmp_path / "qwen3_30b_a3b.yaml")
    assert_points_at(caught.value, tmp_path / "qwen3_30b_a3b.yaml", new, code)


def spoil(source: Path, target: Path, old: str, new: str) -> None:
    text = source.read_text()
    assert old in text
    target.write_text(text.replace(old, new, 1))


def assert_points_at(error: SpecForgeError, path: Path, new: str, code: str) -> None:
    first = error.diagnostics[0]
    assert first.code == code
    assert first.position is not None
    assert first.position.file == path
    assert new.strip() in path.read_text().splitlines()[first.position.line - 1]
