"""Draws the zones of the machine that the transcript of chapter 2 comes from, which the tests
compare with every run: so the picture is what a kernel has found."""

import pathlib
import re

MIB = 1 << 20
LEFT, WIDTH = 10, 620


def ranges(text):
    found = re.findall(r"^  (KERNEL|USER) +0x(\w+) to 0x(\w+)", text, re.M)
    return [(zone, int(start, 16), int(end, 16)) for zone, start, end in found]


def bar(every, start, end, top, left=LEFT, width=WIDTH):
    """A strip of memory: grey is what is in neither zone."""
    def x(address):
        return left + width * (min(max(address, start), end) - start) / (end - start)

    yield f'<path class="dim" d="M{left} {top}h{width}v40h-{width}z"/>'
    for zone, first, last in every:
        if first < end and last > start and x(last) - x(first) > 0.3:
            yield f'<path class="{"a" if zone == "KERNEL" else "b"}" stroke-width="0.5" ' \
                  f'd="M{x(first):.1f} {top}H{x(last):.1f}v40H{x(first):.1f}z"/>'


def label(x, y, text, how='class="small"', anchor="middle"):
    return f'<text {how} x="{x:.1f}" y="{y}" text-anchor="{anchor}">{text}</text>'


def draw(text):
    every = ranges(text)
    boundary = int(re.search(r"boundary is at (\d+) MiB", text)[1]) * MIB
    top = max(end for _, _, end in every)
    end = (top + 8 * MIB - 1) // (8 * MIB) * 8 * MIB
    first = next(b for (_, _, a), (_, b, _) in zip(every, every[1:]) if a >= boundary and b > a)
    zoom = (first // MIB - 1) * MIB
    at, from_ = (LEFT + WIDTH * a / end for a in (boundary, zoom))
    yield '<svg class="fig" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 246">'
    yield "<title>The zones of a real memory map</title>"
    yield f"""<desc>Three strips of memory. The first is all of it, {end // MIB} MiB: a small KERNEL
zone up to the boundary at {boundary // MIB} MiB, then the USER zone. The others enlarge both ends.
At the low end the kernel's zone has gaps, where the firmware keeps its own memory; at the high
end the USER zone has them, where also our image, stack and page tables are.</desc>"""
    yield from bar(every, 0, end, 34)
    yield label((LEFT + at) / 2, 24, "KERNEL", how="")
    yield label((at + LEFT + WIDTH) / 2, 24, "USER", how="")
    yield label(at, 92, f"{boundary // MIB} MiB")
    yield label(LEFT + WIDTH, 92, f"{end // MIB} MiB", anchor="end")
    yield f'<path class="accent" d="M{at:.1f} 28v52"/>'
    half = WIDTH // 2 - 10
    for x, start, stop, left in (LEFT, 0, boundary, LEFT), (LEFT + half + 20, zoom, end, from_):
        right = LEFT + WIDTH * stop / end
        yield f'<path class="faint" d="M{left:.1f} 74 {x:.1f} 150' \
              f'M{right:.1f} 74 {x + half:.1f} 150"/>'
        yield from bar(every, start, stop, 150, x, half)
        yield label(x, 208, f"{start // MIB} MiB", anchor="start")
        yield label(x + half, 208, f"{stop // MIB} MiB", anchor="end")
    yield label(LEFT + WIDTH / 2, 236, "grey: the firmware keeps it, or we stand on it")
    yield "</svg>"


print("\n".join(draw(pathlib.Path("tests/golden/ch02.txt").read_text())))
