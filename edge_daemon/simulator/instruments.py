"""Simulated instruments: fluidics, detectors, noise, and the layout of each firmware's export.

What every firmware of an instrument shares is physics; what differs is how the converter's
counts are scaled, named and written. A new instrument is one more entry of `INSTRUMENTS`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from edge_daemon.errors import EdgeError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Detector:
    """Sensitivity and noise of one detector, in the units of its signal.

    Attributes
    ----------
    floor
        SD of the additive noise of a pulse height.
    shot
        Variance of a height per unit of height: photon statistics.
    day_cv
        Relative SD of the gain between runs.
    gain
        True response over the one the instrument was calibrated to.
    """

    floor: float
    shot: float
    day_cv: float
    gain: float = 1.0


@dataclass(frozen=True, slots=True)
class Column:
    """One exported column and how counts come from a signal.

    Attributes
    ----------
    name, label
        ``$PnN`` and ``$PnS``.
    canonical
        Canonical channel, or ``TIME``.
    step
        Signal per count (linear) or signal at count 0 (logarithmic).
    pedestal
        Counts at signal 0; linear only.
    decades
        0 for linear.
    """

    name: str
    label: str
    canonical: str
    step: float
    pedestal: int = 0
    decades: float = 0.0


@dataclass(frozen=True, slots=True)
class Firmware:
    """How one firmware exports.

    Attributes
    ----------
    adc_bits
        Resolution of the converter; a count at its limit is saturated.
    word_bits, byte_order
        How counts are written.
    time_step_s
        Seconds per count of the time column.
    columns
        In file order, the time column last.
    """

    version: str
    adc_bits: int
    word_bits: Literal[16, 32]
    byte_order: Literal["big", "little"]
    time_step_s: float
    columns: tuple[Column, ...]
    suffix: str = ".fcs"


@dataclass(frozen=True, slots=True)
class Digitiser:
    """A converter that records whole pulses.

    Attributes
    ----------
    bits
        Resolution; a count at its limit is saturated.
    samples, interval_us
        Of one record.
    before_us
        Of the record that lies before the first particle is in the middle of the beam.
    baseline
        Counts at signal 0.
    step
        Per detector, signal of one count.
    """

    bits: int
    samples: int
    interval_us: float
    before_us: float
    baseline: int
    step: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class PulseFirmware:
    """How one firmware exports digitised pulses."""

    version: str
    digitiser: Digitiser
    time_step_s: float
    suffix: str = ".edp"


@dataclass(frozen=True, slots=True)
class Instrument:
    """A simulated analyzer.

    Attributes
    ----------
    optics
        Name of the optical configuration.
    detectors
        Keys in the order of export.
    trigger
        Detector and pulse height below which nothing is recorded.
    beam_sigma_um
        SD of the Gaussian beam along the stream, µm.
    velocity_um_per_us
        Stream velocity.
    window_us
        Particles closer than this are one event.
    flow_ul_per_s, dilution
        Diluted sample through the beam, and diluted volume over blood volume.
    position_cv
        Relative variation of the light a cell receives with its place in the stream.
    metering_cv
        Relative error of the metered volume.
    drift_cv, step_probability
        Size of the slow drift within a run; chance of a step change.
    dye_cv, dye
        Staining between runs, and its mean relative to the calibrated one.
    """

    id: str
    cyt: str
    optics: str
    detectors: Mapping[str, Detector]
    trigger: tuple[str, float]
    firmwares: Mapping[str, Firmware | PulseFirmware]
    beam_sigma_um: float = 3.5
    velocity_um_per_us: float = 4.0
    window_us: float = 2.5
    flow_ul_per_s: float = 0.7
    dilution: float = 1000.0
    position_cv: float = 0.015
    metering_cv: float = 0.004
    laser_cv: float = 0.01
    drift_cv: float = 0.006
    step_probability: float = 0.04
    dye_cv: float = 0.08
    dye: float = 1.0


def shifted(instrument: Instrument) -> Instrument:
    """Return the same model with other physics: a test of what was learnt from the first.

    Another wavelength and slightly other angles, 15 % more gain, half as much noise again, and
    a dimmer dye. The exported layout and the profile stay the same.
    """
    detectors = {
        name: replace(d, floor=1.5 * d.floor, shot=1.5 * d.shot, gain=1.15 * d.gain)
        for name, d in instrument.detectors.items()
    }
    return replace(instrument, optics="diode660", detectors=detectors, dye=0.65)


def find_instrument(instrument: str) -> Instrument:
    """Look up an instrument.

    Raises
    ------
    EdgeError
        If there is none of that id.
    """
    if instrument not in INSTRUMENTS:
        raise EdgeError(
            f"unknown simulated instrument {instrument!r}; known are {', '.join(INSTRUMENTS)}",
            action="Choose one of the known instruments.",
        )
    return INSTRUMENTS[instrument]


def find_firmware(instrument: Instrument, firmware: str) -> Firmware | PulseFirmware:
    """Look up a firmware of `instrument`.

    Raises
    ------
    EdgeError
        If there is none of that version.
    """
    if firmware not in instrument.firmwares:
        known = ", ".join(instrument.firmwares)
        raise EdgeError(
            f"{instrument.id} has no firmware {firmware!r}; known are {known}",
            action="Choose one of the known firmware versions.",
        )
    return instrument.firmwares[firmware]


_FULL_SCALE_H: Final = {"LA": 80.0, "HA": 60.0, "EXT": 320.0}
_FULL_SCALE_W: Final = 32.0
_AREA_PER_HEIGHT_US: Final = 3.2
"""Area full scale over height full scale: a single cell's area is about 2.2 µs × height."""


def _firmware_1() -> Firmware:
    """16-bit big-endian words, linear scatter, fluorescence on four decades."""
    limit = 2**16
    columns = []
    for detector, name in (("LA", "FSC-L"), ("HA", "FSC-M"), ("EXT", "EXT")):
        full = _FULL_SCALE_H[detector]
        columns += [
            Column(f"{name}-H", f"{name} height", f"{detector}.H", full / limit),
            Column(
                f"{name}-A", f"{name} area", f"{detector}.A", full / limit * _AREA_PER_HEIGHT_US
            ),
            Column(f"{name}-W", f"{name} width", f"{detector}.W", _FULL_SCALE_W / limit),
        ]
    columns += [
        Column("FL-H", "RNA dye height", "FL.H", 0.04, decades=4.0),
        Column("FL-A", "RNA dye area", "FL.A", 0.08, decades=4.0),
        Column("FL-W", "RNA dye width", "FL.W", _FULL_SCALE_W / limit),
        Column("TIME", "", "TIME", 0.01),
    ]
    return Firmware("1.0", 16, 16, "big", 0.01, tuple(columns))


def _firmware_2() -> Firmware:
    """20-bit counts in 32-bit little-endian words, all linear, on a pedestal."""
    columns = []
    names = (("LA", "LALS"), ("HA", "MALS"), ("EXT", "AXL"), ("FL", "RNA"))
    steps = {"LA": 1.0e-4, "HA": 0.8e-4, "EXT": 4.0e-4, "FL": 4.0e-4}
    for detector, name in names:
        step = steps[detector]
        columns += [
            Column(f"{name}-P", "peak", f"{detector}.H", step, 2000),
            Column(f"{name}-I", "integral", f"{detector}.A", step * _AREA_PER_HEIGHT_US, 2000),
            Column(f"{name}-TOF", "time of flight", f"{detector}.W", 5.0e-5),
        ]
    columns.append(Column("TIME", "", "TIME", 0.001))
    return Firmware("2.0", 20, 32, "little", 0.001, tuple(columns))


INSTRUMENTS: Final[Mapping[str, Instrument]] = {
    "sim_optical4": Instrument(
        id="sim_optical4",
        cyt="SimOptical4",
        optics="hene",
        detectors={
            "LA": Detector(floor=0.02, shot=1.3e-3, day_cv=0.015),
            "HA": Detector(floor=0.02, shot=1.0e-3, day_cv=0.015),
            "EXT": Detector(floor=0.7, shot=4.0e-3, day_cv=0.015),
            "FL": Detector(floor=0.05, shot=2.0e-2, day_cv=0.02),
        },
        trigger=("HA", 0.15),
        firmwares={"1.0": _firmware_1(), "2.0": _firmware_2()},
    ),
    "sim_pulse4": Instrument(
        id="sim_pulse4",
        cyt="SimPulse4",
        optics="hene",
        detectors={
            "LA": Detector(floor=0.03, shot=1.5e-3, day_cv=0.02),
            "HA": Detector(floor=0.02, shot=1.2e-3, day_cv=0.02),
            "EXT": Detector(floor=0.8, shot=5.0e-3, day_cv=0.02),
            "FL": Detector(floor=0.06, shot=2.5e-2, day_cv=0.02),
        },
        trigger=("HA", 0.2),
        firmwares={
            "1.0": PulseFirmware(
                "1.0",
                Digitiser(
                    bits=14,
                    samples=32,
                    interval_us=0.4,
                    before_us=5.2,
                    baseline=200,
                    step={"LA": 0.005, "HA": 0.004, "EXT": 0.02, "FL": 0.025},
                ),
                time_step_s=1e-4,
            )
        },
        beam_sigma_um=4.0,
        velocity_um_per_us=4.5,
        flow_ul_per_s=0.6,
        dilution=1200.0,
    ),
}
