"""A picture of what an arm's networks hear in songs over time."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure as Canvas

from study.report import drawing
from study.use.tagging import Heard

MOST_SONGS, MOST_TAGS = 6, 12


def check_plot(num_songs: int) -> None:
    """ValueError for more songs than a picture has panels."""
    if num_songs > MOST_SONGS:
        raise ValueError(f"--plot draws up to {MOST_SONGS} songs, given: {num_songs}")


def plot(heard: Sequence[Heard], path: str) -> None:
    """Draws each song's most probable tags over time; the file's ending is .png or .svg."""
    shown = min(MOST_TAGS, len(heard[0].classes))

    def paint(canvas: Canvas) -> None:
        panels = canvas.subplots(len(heard), 1, squeeze=False).ravel()
        image = None
        for axes, one in zip(panels, heard, strict=True):
            places = one.ranked[:shown]
            # A segment's answer stands at its middle.
            edges = one.starts_s + one.segment_s / 2
            hop = edges[1] - edges[0] if len(edges) > 1 else one.segment_s
            times = np.append(edges - hop / 2, edges[-1] + hop / 2)
            image = axes.pcolormesh(
                times, np.arange(shown + 1) - 0.5, one.over_time[:, places].T, vmin=0, vmax=1, cmap="viridis"
            )
            drawing.rows(axes, [f"{one.classes[place]} {one.means[place]:.2f}" for place in places])
            axes.set_title(drawing.short(one.song, 60))
        panels[-1].set_xlabel("seconds into the song")
        assert image is not None
        canvas.colorbar(image, ax=list(panels), label="probability", shrink=0.8)

    height = (0.5 + 0.19 * shown) * len(heard) + 0.5
    figure = drawing.draw("tags", "", "", paint, height=height)
    Path(path).write_bytes(figure.png() if path.endswith(".png") else figure.drawn)
