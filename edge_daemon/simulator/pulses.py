"""From particles in a beam to measured pulse height, area and width."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from edge_daemon.records import CELL_CLASSES
from edge_daemon.simulator.cells import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.random import Generator
    from numpy.typing import NDArray

    from edge_daemon.simulator.cells import Particles
    from edge_daemon.simulator.instruments import Detector, Digitiser, Instrument

    Floats = NDArray[np.float64]

_FWHM: Final = 2.0 * np.sqrt(2.0 * np.log(2.0))
_GRID: Final = 64
"""Samples of a compound pulse; the longest spans some 60 µm, so a step stays below σ/3."""
_BLOCK: Final = 8192
"""Events whose waveforms are worked on at a time."""
_OTHER: Final = CELL_CLASSES.index("other")


@dataclass(frozen=True, slots=True)
class Parts:
    """Particles that passed the beam, sorted by the event they are part of.

    Attributes
    ----------
    event
        ``(parts,)``: index of the event.
    signal
        Per detector ``(parts,)``: response to the whole particle in the middle of the beam.
    sigma_um
        ``(parts,)``: SD of the pulse along the stream.
    offset_um
        ``(parts,)``: place along the stream, from the event's first particle.
    """

    event: NDArray[np.intp]
    signal: dict[str, Floats]
    sigma_um: Floats
    offset_um: Floats

    def of(self, index: NDArray[np.intp] | NDArray[np.bool_] | slice, events: int) -> Parts:
        """Return the parts of the events selected by `index`, renumbered."""
        place = np.full(events, -1, np.intp)
        kept = np.arange(events)[index]
        place[kept] = np.arange(len(kept))
        chosen = place[self.event] >= 0
        return Parts(
            place[self.event][chosen],
            {d: v[chosen] for d, v in self.signal.items()},
            self.sigma_um[chosen],
            self.offset_um[chosen],
        )


@dataclass(frozen=True, slots=True)
class Events:
    """Recorded events before the electronics' noise.

    Attributes
    ----------
    code
        uint8 ``(events,)``: true class.
    time_s
        ``(events,)``: arrival.
    parts
        What the pulses are made of.
    height, area, width
        Per detector ``(events,)``; signal unit, signal unit × µs, µs.
    """

    code: NDArray[np.uint8]
    time_s: Floats
    parts: Parts
    height: dict[str, Floats] = field(default_factory=dict)
    area: dict[str, Floats] = field(default_factory=dict)
    width: dict[str, Floats] = field(default_factory=dict)

    def take(self, index: NDArray[np.intp] | NDArray[np.bool_] | slice) -> Events:
        """Return the events selected by `index`."""
        return Events(
            self.code[index],
            self.time_s[index],
            self.parts.of(index, len(self.code)),
            *(
                {d: v[index] for d, v in kind.items()}
                for kind in (self.height, self.area, self.width)
            ),
        )

    def first(self, count: int) -> Events:
        """Return the first `count` events."""
        return self.take(slice(count))


def pass_beam(rng: Generator, particles: Particles, instrument: Instrument, per_s: float) -> Events:
    """Let particles arrive at random, merge those in the beam together, trigger.

    Particles that could not trigger alone are dropped before merging: they are neither seen
    nor do they make an event a coincidence. An event of several visible particles is a chance
    doublet and belongs to ``other``, whatever its members are.

    Parameters
    ----------
    particles
        In order of arrival.
    per_s
        Mean arrivals per second.
    """
    arrival_us = np.cumsum(rng.exponential(1e6 / per_s, len(particles.code)))
    detector, threshold = instrument.trigger
    trigger = particles.signals[:, SIGNALS.index(detector)]
    level = _total(particles.owner, trigger, len(particles.code))
    visible = level > threshold
    arrival_us, code = arrival_us[visible], particles.code[visible]
    starts = np.diff(arrival_us, prepend=-np.inf) > instrument.window_us
    event = np.cumsum(starts) - 1
    first = np.flatnonzero(starts)
    members = np.bincount(event)

    parts = visible[particles.owner]
    owner = (np.cumsum(visible) - 1)[particles.owner[parts]]
    since_start = arrival_us - arrival_us[first][event]
    offset = particles.offset_um[parts] + since_start[owner] * instrument.velocity_um_per_us
    # A sphere blurs the beam profile by its own variance along the stream, d²/20.
    sigma = np.sqrt(instrument.beam_sigma_um**2 + particles.diameter_um[parts] ** 2 / 20.0)
    signals = particles.signals[parts]
    signal = {d: signals[:, SIGNALS.index(d)] for d in instrument.detectors}
    events = Events(
        np.where(members > 1, _OTHER, code[first]).astype(np.uint8),
        arrival_us[first] / 1e6,
        Parts(event[owner], signal, sigma, offset),
    )
    _pulses(events, instrument)
    return events.take(events.height[detector] > threshold)


def _pulses(events: Events, instrument: Instrument) -> None:
    """Fill heights, areas and widths."""
    event, sigma, offset = events.parts.event, events.parts.sigma_um, events.parts.offset_um
    parts = np.bincount(event, minlength=len(events.code))
    lone = parts[event] == 1
    for detector in instrument.detectors:
        signal = events.parts.signal[detector]
        peak = signal * instrument.beam_sigma_um / sigma
        dwell = np.sqrt(2.0 * np.pi) * instrument.beam_sigma_um / instrument.velocity_um_per_us
        height = np.zeros(len(parts))
        width = np.zeros(len(parts))
        height[event[lone]] = peak[lone]
        width[event[lone]] = _FWHM * sigma[lone] / instrument.velocity_um_per_us
        if not lone.all():
            many, h, w = _compound(event[~lone], peak[~lone], sigma[~lone], offset[~lone])
            height[many] = h
            width[many] = w / instrument.velocity_um_per_us
        events.height[detector] = height
        events.area[detector] = _total(event, signal * dwell, len(parts))
        events.width[detector] = width


def _total(group: NDArray[np.intp], values: Floats, groups: int) -> Floats:
    return np.bincount(group, values, minlength=groups).astype(np.float64)


def _compound(
    event: NDArray[np.intp], peak: Floats, sigma: Floats, offset: Floats
) -> tuple[NDArray[np.intp], Floats, Floats]:
    """Peak and width at half height (µm) of pulses made of several Gaussians."""
    many, begin, index = np.unique(event, return_index=True, return_inverse=True)
    low = np.minimum.reduceat(offset - 3.0 * sigma, begin)
    high = np.maximum.reduceat(offset + 3.0 * sigma, begin)
    step = (high - low) / (_GRID - 1)
    place = low[index, None] + step[index, None] * np.arange(_GRID)
    shape = peak[:, None] * np.exp(-0.5 * ((place - offset[:, None]) / sigma[:, None]) ** 2)
    wave = np.add.reduceat(shape, begin, axis=0)
    height = wave.max(axis=1)
    above = wave >= 0.5 * height[:, None]
    rise = above.argmax(axis=1)
    fall = _GRID - 1 - above[:, ::-1].argmax(axis=1)
    left = rise - _fraction(wave, rise, rise - 1, height)
    right = fall + _fraction(wave, fall, fall + 1, height)
    return many, height, (right - left) * step


def _fraction(
    wave: Floats, inside: NDArray[np.intp], outside: NDArray[np.intp], height: Floats
) -> Floats:
    """Part of a grid step from the last sample above half height to the crossing."""
    rows = np.arange(len(wave))
    outside = np.clip(outside, 0, _GRID - 1)
    upper, lower = wave[rows, inside], wave[rows, outside]
    fall = np.maximum(upper - lower, 1e-300)
    return np.clip((upper - 0.5 * height) / fall, 0.0, 1.0)


def record(
    rng: Generator, events: Events, instrument: Instrument, digitiser: Digitiser
) -> NDArray[np.uint16]:
    """Digitise the pulses: gain, drift, position, photons, electronics, converter.

    The record of an event begins `Digitiser.before_us` before its first particle is in the middle
    of the beam.

    Returns
    -------
    ndarray
        uint16 ``(events, detectors, samples)``, detectors in the instrument's order.
    """
    factors = dict(_factors(rng, events, instrument))
    time_us = np.arange(digitiser.samples) * digitiser.interval_us - digitiser.before_us
    counts = np.empty((len(events.code), len(factors), digitiser.samples), np.uint16)
    for begin in range(0, len(events.code), _BLOCK):
        block = events.take(slice(begin, begin + _BLOCK))
        place = time_us * instrument.velocity_um_per_us - block.parts.offset_um[:, None]
        shape = np.exp(-0.5 * (place / block.parts.sigma_um[:, None]) ** 2)
        starts = np.flatnonzero(np.diff(block.parts.event, prepend=-1))
        for j, (name, factor) in enumerate(factors.items()):
            peak = block.parts.signal[name] * instrument.beam_sigma_um / block.parts.sigma_um
            wave = np.add.reduceat(shape * peak[:, None], starts, axis=0)
            wave *= factor[begin : begin + _BLOCK, None]
            detector = instrument.detectors[name]
            noise = np.sqrt(detector.floor**2 + detector.shot * wave)
            wave += noise * rng.standard_normal(wave.shape)
            value = np.rint(wave / digitiser.step[name]) + digitiser.baseline
            counts[begin : begin + _BLOCK, j] = np.clip(value, 0, 2**digitiser.bits - 1)
    return counts


def measure(rng: Generator, events: Events, instrument: Instrument) -> dict[str, Floats]:
    """Add what the instrument does to a pulse: gain, drift, position, photons, electronics.

    Returns
    -------
    dict
        Canonical channel to ``(events,)`` signal.
    """
    measured: dict[str, Floats] = {}
    for name, factor in _factors(rng, events, instrument):
        measured |= _read(rng, name, instrument.detectors[name], events, factor)
    return measured


def _factors(
    rng: Generator, events: Events, instrument: Instrument
) -> Iterator[tuple[str, Floats]]:
    """Yield what each detector's pulses are multiplied with, ``(events,)``."""
    number = len(events.code)
    light = (1.0 + instrument.position_cv * rng.standard_normal(number)) * _drift(
        rng, events.time_s, instrument
    )
    light *= 1.0 + instrument.laser_cv * rng.standard_normal()
    stain = instrument.dye * np.exp(instrument.dye_cv * rng.standard_normal())
    for name, detector in instrument.detectors.items():
        gain = detector.gain * (1.0 + detector.day_cv * rng.standard_normal())
        yield name, light * gain * (stain if name == "FL" else 1.0)


def _read(
    rng: Generator, name: str, detector: Detector, events: Events, factor: Floats
) -> dict[str, Floats]:
    """Height, area and width of one detector."""
    height = events.height[name] * factor
    area = events.area[name] * factor
    width = events.width[name]
    noise = np.sqrt(detector.floor**2 + detector.shot * height)
    # Integration averages the noise of a pulse, so that an area is steadier than a height.
    area_noise = 0.7 * noise * width
    width_cv = np.sqrt(0.01**2 + (0.35 * noise / np.maximum(height, noise)) ** 2)
    z = rng.standard_normal((3, len(height)))
    return {
        f"{name}.H": height + noise * z[0],
        f"{name}.A": area + area_noise * (0.6 * z[0] + 0.8 * z[1]),
        f"{name}.W": width * np.maximum(1.0 + width_cv * z[2], 0.05),
    }


def _drift(rng: Generator, time_s: Floats, instrument: Instrument) -> Floats:
    """Slow exponential approach to warm, and now and then a step."""
    size, step, when, chance = rng.normal(0.0, 1.0, 2).tolist() + rng.random(2).tolist()
    elapsed = time_s / time_s[-1]
    drift: Floats = 1.0 + instrument.drift_cv * size * (1.0 - np.exp(-3.0 * elapsed))
    if chance < instrument.step_probability:
        drift = drift * np.where(elapsed > when, 1.0 + 0.03 * step, 1.0)
    return drift
