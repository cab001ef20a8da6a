"""Colours of the film set, linear multipliers of a display's red, green and blue."""

Colour = tuple[float, float, float]

PAINT: dict[str, Colour] = {
    "red": (0.88, 0.09, 0.10),
    "orange": (0.98, 0.46, 0.05),
    "yellow": (0.98, 0.87, 0.14),
    "green": (0.06, 0.66, 0.30),
    "blue": (0.12, 0.31, 0.92),
    "purple": (0.58, 0.16, 0.80),
}
STEM: Colour = (0.93, 0.89, 0.82)
"""The stem of a mushroom."""
GROUND: dict[str, tuple[Colour, Colour]] = {
    "meadow": ((0.56, 0.67, 0.38), (0.41, 0.54, 0.29)),
    "desert": ((0.88, 0.76, 0.56), (0.74, 0.61, 0.44)),
    "snow": ((0.95, 0.97, 1.00), (0.72, 0.79, 0.90)),
}
PROP: dict[str, Colour] = {
    "meadow": (0.30, 0.42, 0.26),
    "desert": (0.50, 0.44, 0.34),
    "snow": (0.34, 0.45, 0.46),
}
HILL: dict[str, Colour] = {
    "meadow": (0.42, 0.54, 0.40),
    "desert": (0.70, 0.57, 0.46),
    "snow": (0.84, 0.89, 0.96),
}
SKY: dict[str, dict[str, Colour]] = {
    "dawn": {
        "zenith": (0.36, 0.42, 0.62),
        "horizon": (0.80, 0.68, 0.74),
        "sun": (0.27, 0.26, 0.32),
        "ambient": (0.40, 0.41, 0.50),
        "disc": (1.0, 0.86, 0.82),
        "cloud": (0.78, 0.66, 0.74),
    },
    "sunrise": {
        "zenith": (0.50, 0.50, 0.68),
        "horizon": (0.99, 0.77, 0.52),
        "sun": (0.68, 0.54, 0.37),
        "ambient": (0.40, 0.39, 0.43),
        "disc": (1.0, 0.92, 0.66),
        "cloud": (0.99, 0.76, 0.62),
    },
    "day": {
        "zenith": (0.30, 0.56, 0.90),
        "horizon": (0.80, 0.89, 0.95),
        "sun": (0.62, 0.60, 0.54),
        "ambient": (0.42, 0.45, 0.50),
        "disc": (1.0, 0.97, 0.80),
        "cloud": (0.98, 0.98, 1.0),
    },
    "sunset": {
        "zenith": (0.50, 0.38, 0.56),
        "horizon": (0.99, 0.66, 0.42),
        "sun": (0.68, 0.49, 0.32),
        "ambient": (0.38, 0.35, 0.41),
        "disc": (1.0, 0.86, 0.55),
        "cloud": (0.98, 0.62, 0.52),
    },
    "dusk": {
        "zenith": (0.20, 0.20, 0.46),
        "horizon": (0.62, 0.44, 0.60),
        "sun": (0.22, 0.20, 0.32),
        "ambient": (0.31, 0.31, 0.45),
        "disc": (0.98, 0.80, 0.78),
        "cloud": (0.46, 0.34, 0.54),
    },
    "night": {
        "zenith": (0.04, 0.06, 0.14),
        "horizon": (0.11, 0.15, 0.28),
        "sun": (0.34, 0.36, 0.42),
        "ambient": (0.21, 0.23, 0.31),
        "disc": (0.92, 0.94, 0.98),
        "cloud": (0.14, 0.18, 0.30),
    },
}
"""Sky, light and clouds by time of day. Dawn and dusk have no sun: what they call so is the bright side of the sky."""
LAMP: Colour = (1.0, 0.82, 0.52)
GRADE: dict[str, Colour] = {
    "warm": (1.10, 0.99, 0.80),
    "cool": (0.84, 0.99, 1.12),
    "neutral": (1.0, 1.0, 1.0),
}
