"""The two builds on the card's side: both compile, and are told apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from specforge.kernel.build import build_cubin
from specforge.kernel.cache import Cache
from specforge.kernel.render import render
from specforge.parity.builds import builds
from specforge.roots import shipped
from specforge.spec.interface import find_kernel
from tests.parity.test_compare import VARIANTS


@pytest.mark.parametrize("identity", VARIANTS)
def test_both_builds_compile_for_the_card(tmp_path: Path, identity):
    kernel = find_kernel(identity, (shipped(),))
    rendered = render(kernel, VARIANTS[identity])
    cache = Cache(tmp_path)
    ordinary, parity = (build_cubin(rendered, kernel, "sm_90", cache, each.card) for each in builds("9.0"))
    assert ordinary.cubin_sha256 != parity.cubin_sha256
    assert "--fmad=false" in parity.flags
    assert "--fmad=false" not in ordinary.flags
    assert not ordinary.cached
    assert not parity.cached
    assert build_cubin(rendered, kernel, "sm_90", cache, builds("9.0")[1].card).cubin_sha256 == parity.cubin_sha256
