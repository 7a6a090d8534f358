"""Find the faces in a film or before a camera, and their expressions over time.

FILE is a film, CAMERA the number of a camera, from 0, URL the address of a stream (https://,
rtsp://, ...). Each event has a line: from when to when, the track, which is a face's number in the
film, the expression, and its mean probability. Times are those that the film states, in seconds. A
film that is damaged or breaks off is done as far as it goes, and the exit code is 1.

--csv writes a row for each face of each frame: time, frame, track, x, y, width, height, score,
roll, size, too_small, label, confidence, and for each class its raw and its smoothed probability.
--events writes a row for each event: track, label, start, end, duration, confidence, frames.
--parquet writes the rows of --csv as a Parquet file, --json prints a line of JSON for each frame.
--draw writes an annotated film: VP9, without the sound. --plot writes a picture of who shows what
when. --live shows the annotated frames in a window, which q closes.

Ctrl-C ends a run; all files are whole then. With the same options and --resume an interrupted run
over a file goes on, and leaves the same rows as one that was not interrupted: it decodes up to
where that was without looking, which is much faster.

Probabilities are smoothed over --smooth seconds, and labels are those of the smoothed ones; hmm
filters them by a hidden Markov model in which an expression lasts --smooth seconds on average.

With --on ray FILE may be a folder of films, here or at an address such as s3://bucket/films, and
--out gets Parquet files with the rows of --csv, the film's path in each, and its error if any.

examples:
  ferjax video talk.mp4 --csv talk.csv --events events.csv --plot talk.png
  ferjax video talk.mp4 --draw talk.faces.webm --start 60 --end 90
  ferjax video talk.mp4 --json --fps 5 --max-faces 1
  ferjax video 0 --live
  ferjax video films/ --on ray --out rows/
  ferjax video rtsp://camera/1 --csv today.csv
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from ferjax.cli import on_ray, options
from ferjax.errors import FerjaxError, VideoError, printable

if TYPE_CHECKING:
    from ferjax.video.events import Event
    from ferjax.video.run import Run

_FIRST = 2.0  # seconds before the first word on progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="FILE|CAMERA|URL", help="a film, a camera or a stream")
    _add_written(parser.add_argument_group("what is written"))
    _add_frames(parser.add_argument_group("which frames and faces"))
    _add_time(parser.add_argument_group("over time"))
    network = parser.add_argument_group("what says the expression")
    options.add_classifier(network)
    options.add_face_resize(network)
    options.add_confidence(network)
    options.add_prior(network)
    on_ray.add_arguments(parser)


def _add_written(group: Any) -> None:
    group.add_argument("--csv", metavar="FILE", help="a table of each face in each frame, UTF-8")
    group.add_argument("--json", action="store_true", help="print a line of JSON for each frame")
    group.add_argument("--events", metavar="FILE.csv", help="a table of the events")
    group.add_argument("--parquet", metavar="FILE", help="the rows of --csv as a Parquet file")
    group.add_argument("--draw", metavar="FILE.webm", help="an annotated film, VP9, without sound")
    group.add_argument("--plot", metavar="FILE.png", help="a timeline; also .pdf and .svg")
    group.add_argument("--live", action="store_true", help="show the annotated frames in a window")
    group.add_argument(
        "--anonymise",
        "--anonymize",
        action="store_true",
        help="with --draw or --live: pixelate the faces; each frame is looked at as a whole then",
    )
    options.add_going_on(group, "an unfinished run, or a file that ferjax did not write")


def _add_frames(group: Any) -> None:
    chosen = group.add_mutually_exclusive_group()
    chosen.add_argument(
        "--every", type=options.count, default=1, metavar="N", help="each Nth frame (default: 1)"
    )
    chosen.add_argument("--fps", type=options.positive, metavar="F", help="so many frames a second")
    group.add_argument(
        "--start", type=options.seconds, default=0.0, metavar="S", help="from this time on"
    )
    group.add_argument(
        "--end", type=options.seconds, metavar="S", help="up to this time, in seconds"
    )
    group.add_argument(
        "--region", type=region, metavar="X,Y,W,H", help="find faces in this part alone, in pixels"
    )
    group.add_argument(
        "--max-faces", type=options.count, metavar="N", help="in each frame so many faces at most"
    )
    group.add_argument(
        "--detect-every",
        type=options.count,
        metavar="N",
        help="look at each Nth frame as a whole, and follow the faces in those between (default: "
        "about five times a second; of cameras as often as keeps up)",
    )
    group.add_argument(
        "--latency",
        choices=("low", "throughput"),
        help="each frame as it comes, or several frames together, in less time for all (default: "
        "low for cameras and live streams)",
    )
    group.add_argument(
        "--min-score",
        type=options.fraction,
        metavar="P",
        help="what is less surely a face begins no track, in [0, 1] (default: 0.7)",
    )
    group.add_argument(
        "--min-size", type=options.pixels, metavar="PIXELS", help="leave out faces of less height"
    )


def _add_time(group: Any) -> None:
    group.add_argument(
        "--smooth",
        type=options.seconds,
        default=0.2,
        metavar="S",
        help="seconds to smooth probabilities over; 0: not at all (default: 0.2)",
    )
    group.add_argument(
        "--smoothing",
        choices=("exponential", "hmm"),
        default="exponential",
        help="a moving average, or a hidden Markov model (default: exponential)",
    )
    group.add_argument(
        "--min-event",
        type=options.seconds,
        default=0.25,
        metavar="S",
        help="seconds that an expression lasts to be an event (default: 0.25)",
    )
    group.add_argument(
        "--max-gap",
        type=options.seconds,
        default=2.0,
        metavar="S",
        help="seconds for which a face may be unseen and stay the same (default: 2)",
    )
    group.add_argument(
        "--timeout",
        type=options.positive,
        default=10.0,
        metavar="S",
        help="give up a camera or stream that gives nothing for so long, and join it no more "
        "(default: 10)",
    )


def region(text: str) -> tuple[float, float, float, float]:
    """Read x,y,width,height."""
    try:
        x, y, width, height = map(options.seconds, text.split(","))
    except (argparse.ArgumentTypeError, ValueError):
        width = height = 0.0
    if min(width, height) < 1:
        raise argparse.ArgumentTypeError(
            f"expected X,Y,WIDTH,HEIGHT in pixels, such as 0,0,640,480, got {text!r}"
        )
    return x, y, width, height


@options.keeps_programs
def run(args: argparse.Namespace) -> int:
    from ferjax.video.outputs import Outputs, check_anonymised
    from ferjax.video.run import Run

    settings = _settings(args)
    if args.on is not None:
        return _on_ray(args, settings)
    on_ray.check_alone(args)
    outputs = Outputs(
        table=args.csv,
        events=args.events,
        parquet=args.parquet,
        drawing=args.draw,
        plot=args.plot,
        min_event=args.min_event,
        anonymise=args.anonymise and args.draw is not None,
        resume=args.resume,
        force=args.force,
    )
    if args.anonymise and not (args.draw or args.live):
        raise FerjaxError("--anonymise is for what is drawn: give --draw FILE.webm or --live too")
    if args.anonymise:
        check_anonymised(settings)
    outputs.check(settings)
    window = None
    if args.live:
        from ferjax.video.window import Window

        window = Window(anonymise=args.anonymise)
    source = args.source
    if source.isascii() and source.isdigit() and len(source) < 10 and not os.path.exists(source):
        source = int(source)
    work = Run(options.load_classifier(args), source, settings, outputs)
    if work.resumed_at is not None:
        print(
            f"ferjax: note: goes on after {work.resumed_at:.2f} s, where the run was last saved; "
            "rows after that are made anew",
            file=sys.stderr,
        )
    elif args.resume:
        print("ferjax: note: begins anew: no run is unfinished", file=sys.stderr)
    if args.draw is not None:
        print("ferjax: note: the annotated film has no sound", file=sys.stderr)
    return _done(work, args, window)


def _on_ray(args: argparse.Namespace, settings: Any) -> int:
    """Do all films of a folder."""
    from ferjax.scale.jobs import FilmJob

    names = ("csv", "json", "events", "parquet", "draw", "plot", "live", "anonymise")
    on_ray.check_together(args, {f"--{name}": getattr(args, name) for name in names})
    classifier = options.load_classifier(args)
    asked = settings.asked(classifier)
    return on_ray.run(args, [args.source], classifier, FilmJob(settings), asked)


def _settings(args: argparse.Namespace) -> Any:
    from ferjax.faces.detection import MIN_SCORE
    from ferjax.video.settings import Settings

    given = {
        name: getattr(args, name)
        for name in (
            *("every", "fps", "start", "end", "region", "latency", "detect_every", "max_faces"),
            *("max_gap", "min_size", "resize", "calibrated", "prior", "abstain_below", "smooth"),
            *("smoothing", "timeout"),
        )
    }
    given["min_score"] = MIN_SCORE if args.min_score is None else args.min_score
    if args.anonymise and args.detect_every is None:
        given["detect_every"] = 1
    try:
        return Settings(**given, keep_images=args.draw is not None or args.live)
    except ValueError as error:
        if isinstance(error, FerjaxError):
            raise
        raise FerjaxError(str(error)) from None


def _done(work: Run, args: argparse.Namespace, window: Any) -> int:
    """Go over the film, say what is seen, and return the exit code."""
    from ferjax.video.tables import json_line

    progress = VideoProgress(args.start, _last_time(work, args.end))
    failure: VideoError | None = None
    frames = iter(work)
    try:
        for frame, events in frames:
            progress.advance(frame.time)
            if args.json or events:
                progress.clear()
            if args.json:
                sys.stdout.write(json_line(frame, engine=work.engine))
            else:
                _print_events(events)
            if window is not None and not window.show(frame):
                break
    except VideoError as error:
        failure = error
    except KeyboardInterrupt:
        frames.close()
        progress.clear()
        print(f"interrupted at {work.analysis.time:.2f} s{_resumable(work)}", file=sys.stderr)
        raise
    finally:
        frames.close()
        progress.clear()
        if window is not None:
            window.close()
    if not args.json:
        _print_events(work.ending)
    sys.stdout.flush()
    print(f"{work.counts}{progress.speed(work.counts.frames)}", file=sys.stderr)
    if work.analysis.dropped:
        print(
            f"ferjax: note: {work.analysis.dropped:,} frames were left out to keep up with the "
            "source",
            file=sys.stderr,
        )
    problems = work.analysis.problems
    for line in problems:
        print(f"ferjax: warning: {line}", file=sys.stderr)
    if failure is not None:
        if not work.counts.frames:
            raise failure
        print(f"ferjax: error: {failure}", file=sys.stderr)
    return 1 if problems or failure is not None else 0


def _resumable(work: Run) -> str:
    """Return where --resume goes on with an interrupted run, as the end of a sentence."""
    if not work.goes_on:
        return ""
    after = (
        "" if work.saved_at is None else f" after {work.saved_at:.2f} s, where it was last saved"
    )
    return f"; --resume goes on with it{after}"


def _last_time(work: Run, end: float | None) -> float | None:
    """Return the time at which the film ends, if that is known."""
    duration = work.analysis.duration
    if duration is None:
        return end
    return duration if end is None else min(end, duration)


def _print_events(events: list[Event]) -> None:
    for event in events:
        print(
            f"{event.start:9.2f} - {event.end:9.2f} s  track {event.track:<4} "
            f"{printable(event.label):<10} {event.confidence:.3f}"
        )


class VideoProgress:
    """Say on stderr how far a film is, how fast, and how long the rest takes."""

    def __init__(self, start: float, end: float | None) -> None:
        self._end = end
        self._begin = time.monotonic()
        self._next = self._begin + _FIRST
        self._frames = 0
        self._first: tuple[float, float] | None = None  # when the first frame came, and its time
        self._shown = False
        self._time = start

    def advance(self, moment: float) -> None:
        """Count a frame of a time, in seconds."""
        now = time.monotonic()
        self._frames += 1
        self._time = moment
        if self._first is None:
            self._first = (now, moment)
        if now < self._next:
            return
        terminal = sys.stderr.isatty()
        text = f"{moment:.1f} s{self._rates(now)}"
        print(f"\r{text:<70}" if terminal else text, end="" if terminal else "\n", file=sys.stderr)
        sys.stderr.flush()
        self._shown = terminal
        self._next = now + (0.2 if terminal else 10.0)

    def _rates(self, now: float) -> str:
        if self._first is None or now <= self._first[0]:
            return ""
        spent, covered = now - self._first[0], self._time - self._first[1]
        times = covered / spent
        text = f", {self._frames / spent:.1f} frames/s, {times:.2f} times real time"
        if self._end is not None and times > 0:
            left = max(0.0, self._end - self._time) / times
            text = f" of {self._end:.1f} s{text}, {left:.0f} s left"
        return text

    def speed(self, frames: int) -> str:
        """Return what to say of the speed in the end."""
        if self._first is None or frames < 2:
            return ""
        # From the beginning: the frames of a short film come all at once.
        spent = max(1e-3, time.monotonic() - self._begin)
        covered = self._time - self._first[1]
        return f"; {self._frames / spent:.1f} frames/s, {covered / spent:.2f} times real time"

    def clear(self) -> None:
        """Clear the line, if one is drawn."""
        if self._shown:
            print(f"\r{'':<70}\r", end="", file=sys.stderr)
            sys.stderr.flush()
            self._shown = False
