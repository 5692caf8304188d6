"""The cards of this machine as NVML sees them; CUDA is not started for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class LiveCard:
    """A card that is there. Bytes, hertz and watts; None where the card or the driver does not say."""

    index: int
    name: str
    uuid: str
    compute_capability: str
    driver: str
    cuda_driver_version: str
    """The newest CUDA version that the driver supports."""
    memory_bytes: int | None
    vbios: str | None
    ecc: bool | None
    mig: bool | None
    power_limit: float | None
    sm_clock_max: float | None
    memory_clock_max: float | None
    persistence: bool | None = None
    """Whether the driver stays loaded while nobody uses the card: without it, the first to come waits for a start."""


@dataclass(frozen=True, slots=True)
class Probe:
    """The cards found, or why there are none."""

    cards: tuple[LiveCard, ...]
    reason: str | None


def probe() -> Probe:
    """List the cards; never raises for a machine that has none."""
    try:
        with nvml() as library:
            driver = _text(library.nvmlSystemGetDriverVersion())
            version = int(library.nvmlSystemGetCudaDriverVersion_v2())
            cuda = f"{version // 1000}.{version % 1000 // 10}"
            count = int(library.nvmlDeviceGetCount())
            cards = tuple(_card(library, index, driver, cuda) for index in range(count))
    except NvmlUnavailable as error:
        return Probe((), str(error))
    return Probe(cards, None if cards else "the NVIDIA driver is there, but it shows no card")


class NvmlUnavailable(Exception):
    """NVML cannot be asked; the text says why in words for a user."""


@contextmanager
def nvml() -> Iterator[Any]:
    """The initialised pynvml module for the length of a block; raises NvmlUnavailable, also for errors in the block."""
    try:
        import pynvml
    except ImportError as error:
        raise NvmlUnavailable(f"the Python package nvidia-ml-py is missing ({error})") from None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        missing = isinstance(error, pynvml.NVMLError_LibraryNotFound)
        why = "no NVIDIA driver on this machine (libnvidia-ml is not found)" if missing else f"NVML: {error}"
        raise NvmlUnavailable(why) from None
    try:
        yield pynvml
    except pynvml.NVMLError as error:
        raise NvmlUnavailable(f"NVML: {error}") from error
    finally:
        pynvml.nvmlShutdown()


def ask(library: Any, function: str, *arguments: object) -> Any:  # noqa: ANN401 -- whatever NVML answers
    """Ask NVML for something that a card may not offer; None where it does not, or where this pynvml is too old."""
    return ask_why(library, function, *arguments)[0]


def ask_why(library: Any, function: str, *arguments: object) -> tuple[Any, str | None]:  # noqa: ANN401 -- as `ask`
    """As `ask`, with why there is no answer; one of the two is None."""
    try:
        answer = getattr(library, function)(*arguments)
    except library.NVMLError as error:
        return None, str(error)
    except AttributeError:
        return None, f"this nvidia-ml-py has no {function}"
    return answer, None if answer is not None else f"{function} gave nothing"


def _card(library: Any, index: int, driver: str, cuda: str) -> LiveCard:  # noqa: ANN401
    handle = library.nvmlDeviceGetHandleByIndex(index)
    major, minor = library.nvmlDeviceGetCudaComputeCapability(handle)
    memory = ask(library, "nvmlDeviceGetMemoryInfo", handle)
    ecc = ask(library, "nvmlDeviceGetEccMode", handle)
    mig = ask(library, "nvmlDeviceGetMigMode", handle)
    limit = ask(library, "nvmlDeviceGetEnforcedPowerLimit", handle)
    persistence = ask(library, "nvmlDeviceGetPersistenceMode", handle)
    vbios = ask(library, "nvmlDeviceGetVbiosVersion", handle)
    return LiveCard(
        index=index,
        name=_text(library.nvmlDeviceGetName(handle)),
        uuid=_text(library.nvmlDeviceGetUUID(handle)),
        compute_capability=f"{major}.{minor}",
        driver=driver,
        cuda_driver_version=cuda,
        memory_bytes=None if memory is None else int(memory.total),
        vbios=None if vbios is None else _text(vbios),
        ecc=None if ecc is None else bool(ecc[0]),
        mig=None if mig is None else bool(mig[0]),
        power_limit=None if limit is None else limit / 1000,
        sm_clock_max=_hertz(ask(library, "nvmlDeviceGetMaxClockInfo", handle, library.NVML_CLOCK_SM)),
        memory_clock_max=_hertz(ask(library, "nvmlDeviceGetMaxClockInfo", handle, library.NVML_CLOCK_MEM)),
        persistence=None if persistence is None else bool(persistence),
    )


def _hertz(megahertz: int | None) -> float | None:
    return None if megahertz is None else megahertz * 1e6


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
