"""Draws what `make bench-growth` has measured, which a test compares with what it measures: a
small plot for each operation, cost above how many there are, and all have the same scales."""

import math
import pathlib
import re

COLUMNS, LEFT, TOP, WIDTH, HEIGHT, ACROSS, DOWN = 3, 58, 26, 170, 84, 198, 122
RUSTICA, LINUX = 'class="accent"', 'class="line" stroke-dasharray="7 4"'
ROW = re.compile(r"^(\S.*?) +(\d+) +([\d,]+)(?: +([\d,]+))?", re.M)


def measured(text):
    """{operation: [(how many, Rustica's cost, Linux's or None)]}"""
    found = {}
    for what, many, *costs in ROW.findall(text):
        ours, theirs = (int(cost.replace(",", "") or 0) for cost in costs)
        found.setdefault(what, []).append((int(many), ours, theirs or None))
    return found


def decades(numbers):
    return math.floor(math.log10(min(numbers))), math.ceil(math.log10(max(numbers)))


class Scales:
    """Where a number is in a plot: both ways logarithmic."""

    def __init__(self, every):
        points = [point for points in every.values() for point in points]
        self.many = decades([many for many, _, _ in points])
        self.cost = decades([cost for _, *costs in points for cost in costs if cost])

    def x(self, many):
        return WIDTH * (math.log10(many) - self.many[0]) / (self.many[1] - self.many[0])

    def y(self, cost):
        return HEIGHT * (self.cost[1] - math.log10(cost)) / (self.cost[1] - self.cost[0])


def label(x, y, text, how='class="small"', anchor="start"):
    return f'<text {how} x="{x:g}" y="{y:g}" text-anchor="{anchor}">{text}</text>'


def line(scales, points, how, dot):
    at = [(scales.x(many), scales.y(cost)) for many, cost in points if cost]
    if at:
        yield f'<path {how} d="M' + " ".join(f"{x:.1f} {y:.1f}" for x, y in at) + '"/>'
        yield from (f'<circle class="{dot}" cx="{x:.1f}" cy="{y:.1f}" r="2.4"/>' for x, y in at)


def plot(scales, what, points):
    """The faint line is what would cost ten times as much among ten times as many."""
    yield label(0, -7, what)
    yield f'<path class="dim" d="M0 0H{WIDTH}V{HEIGHT}H0z"/>'
    many, cost, _ = points[0]
    steps = min(scales.many[1] - math.log10(many), scales.cost[1] - math.log10(cost))
    yield f'<path class="faint" d="M{scales.x(many):.1f} {scales.y(cost):.1f} ' \
          f'{scales.x(many * 10 ** steps):.1f} {scales.y(cost * 10 ** steps):.1f}"/>'
    yield from line(scales, [(many, theirs) for many, _, theirs in points], LINUX, "head")
    yield from line(scales, [(many, ours) for many, ours, _ in points], RUSTICA, "hot")


def axes(scales, number, count):
    """Numbers at the left of the first column, and below where nothing is below."""
    if number % COLUMNS == 0:
        for power in range(scales.cost[0], scales.cost[1] + 1):
            yield label(-7, scales.y(10 ** power) + 4, f"{10 ** power:,}", anchor="end")
    if number + COLUMNS >= count:
        for power in range(scales.many[0], scales.many[1] + 1):
            anchor = {scales.many[0]: "start", scales.many[1]: "end"}.get(power, "middle")
            yield label(scales.x(10 ** power), HEIGHT + 17, f"{10 ** power:,}", anchor=anchor)


def legend():
    for y, how, text in (28, RUSTICA, "Rustica"), (50, LINUX, "Linux"), \
            (72, 'class="faint"', "ten times as much among ten times as many"):
        yield f'<path {how} d="M0 {y}h44"/>'
        yield label(54, y + 4, text)


def draw(every):
    scales, count = Scales(every), len(every)
    rows = (count + COLUMNS - 1) // COLUMNS
    most = max(points[-1][1] / points[0][1] for points in every.values())
    yield '<svg class="fig" xmlns="http://www.w3.org/2000/svg" ' \
          f'viewBox="0 0 640 {rows * DOWN + 22}">'
    yield "<title>What one of many costs</title>"
    yield f"""<desc>{count} plots of instructions above how many there are, from
{10 ** scales.many[0]:,} to {10 ** scales.many[1]:,}, both logarithmic. In each the line of Rustica
is nearly level, and ends at {most:.1f} times its beginning or less; it lies below that of Linux.
A third line, to compare, shows what would cost ten times as much among ten times as many.</desc>"""
    for number, (what, points) in enumerate(every.items()):
        x, y = LEFT + number % COLUMNS * ACROSS, TOP + number // COLUMNS * DOWN
        yield f'<g transform="translate({x} {y})">'
        yield from plot(scales, what, points)
        yield from axes(scales, number, count)
        yield "</g>"
    y = TOP + (count // COLUMNS if count % COLUMNS else rows) * DOWN
    yield f'<g transform="translate({LEFT + count % COLUMNS * ACROSS + 10} {y})">'
    yield from legend()
    yield "</g></svg>"


print("\n".join(draw(measured(pathlib.Path("tests/golden/growth.txt").read_text()))))
