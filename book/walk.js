"use strict";
// Walks: a recorded run, step by step. Where a page has three steps of a walk, there comes a
// player of all of them when it gets near: the function's lines, a picture of what there is
// in memory, the variables. What step n shows depends on n alone, so that backward is the
// reverse of forward.

const PACE = 900;                               // milliseconds of a step, when it plays

function part(tag, into, keys = {}) {
    const made = Object.assign(document.createElement(tag), keys);
    into?.append(made);
    return made;
}

class Player {
    constructor(figure, data) {
        Object.assign(this, data, { figure, at: -1, timer: 0, shown: null });
        this.box = part("div", null, { className: "player", role: "group" });
        this.box.setAttribute("aria-label", $("figcaption strong", figure).innerText);
        this.lines = part("pre", this.box, { className: "window", tabIndex: 0, role: "region" });
        this.lines.setAttribute("aria-label", "The line where it is");
        this.bar();
        const side = part("div", this.box, { className: "side" });
        if (this.size) {
            this.picture = document.createElementNS("http://www.w3.org/2000/svg", "svg");
            this.picture.setAttribute("viewBox", `-1 0 ${this.size[0] + 2} ${this.size[1]}`);
            this.picture.setAttribute("class", "fig");
            this.picture.setAttribute("role", "img");
            side.append(this.picture);
        }
        this.stack = part("p", side, { className: "stack" });
        this.table = part("table", side);
        this.table.style.setProperty("--rows", Math.max(...this.steps.map((s) =>
            s[3].length + s[4].length)));
        this.said = part("p", this.box, { className: "sr" });
        this.said.setAttribute("aria-live", "polite");
        part("p", this.box, { className: "same", innerHTML: "The same in the debugger: " +
            this.commands.map((text) => `<code>${escaped(text)}</code>`).join(", ") + "." });
        this.box.addEventListener("keydown", (event) => this.key(event));
        $(".stills", figure).before(this.box);
        figure.classList.add("plays");
        widths();
        this.go(0);
    }

    bar() {
        const bar = part("div", this.box, { className: "bar" });
        const button = (text, label, act) => {
            const made = part("button", bar, { type: "button", textContent: text, onclick: act });
            made.setAttribute("aria-label", label);
            return made;
        };
        this.back = button("\u2039", "One step back", () => this.step(-1));
        this.plays = button("\u25b6\ufe0e", "Play", () => this.play(!this.timer));
        this.forth = button("\u203a", "One step forward", () => this.step(1));
        this.slider = part("input", bar, { type: "range", min: 0, max: this.steps.length - 1,
                                           value: 0 });
        this.slider.setAttribute("aria-label", "Step");
        this.slider.oninput = () => { this.play(false); this.go(+this.slider.value); };
        this.count = part("output", bar);
    }

    key(event) {
        if (event.target === this.slider || event.ctrlKey || event.altKey || event.metaKey) return;
        const last = this.steps.length - 1;
        const to = { ArrowRight: this.at + 1, ArrowLeft: this.at - 1, Home: 0,
                     End: last }[event.key];
        if (to === undefined) return;
        event.preventDefault();
        this.play(false);
        this.go(Math.max(0, Math.min(last, to)));
    }

    step(by) {
        this.play(false);
        this.go(Math.max(0, Math.min(this.steps.length - 1, this.at + by)));
    }

    play(on) {
        clearInterval(this.timer);
        this.timer = 0;
        if (on) {
            if (this.at === this.steps.length - 1) this.go(0);
            this.timer = setInterval(() => {
                this.go(this.at + 1);
                if (this.at === this.steps.length - 1) this.play(false);
            }, PACE);
        }
        this.plays.textContent = on ? "\u275a\u275a" : "\u25b6\ufe0e";
        this.plays.setAttribute("aria-label", on ? "Pause" : "Play");
    }

    // ---- What a step shows ----

    go(n) {
        if (n === this.at) return;
        this.at = n;
        const changes = this.changes(n);
        this.showLine(this.steps[n]);
        if (this.picture) this.showPicture(n);
        this.showVariables(n, changes);
        this.slider.value = n;
        this.count.textContent = `${n + 1} of ${this.steps.length}`;
        this.back.setAttribute("aria-disabled", n === 0);
        this.forth.setAttribute("aria-disabled", n === this.steps.length - 1);
        this.slider.setAttribute("aria-valuetext", this.sentence(n, changes));
        this.said.textContent = this.timer ? "" : this.sentence(n, changes);
    }

    // The names of what is not as it was a step before.
    changes(n) {
        if (!n) return new Set();
        const now = this.steps[n], before = this.steps[n - 1], found = new Set();
        for (const list of now[2] === before[2] ? [3, 4] : [4]) {
            const old = new Set(before[list]);
            for (const row of now[list]) if (!old.has(row)) found.add(list + this.rows[row][0]);
        }
        return found;
    }

    showLine([name, line]) {
        const [, first, lines] = this.code[name];
        if (this.shown !== name) {
            this.shown = name;
            this.lines.innerHTML = lines.map((text, i) => {
                const indent = text.match(/^ */)[0].length;
                return `<span class="l" style="--in:${indent}"><span class="n" ` +
                    `data-n="${first + i}"></span>${text}\n</span>`;
            }).join("");
        }
        $(".now", this.lines)?.classList.remove("now");
        const row = this.lines.children[line - first];
        row.classList.add("now");
        this.lines.scrollTop = row.offsetTop - (this.lines.clientHeight - row.offsetHeight) / 2;
        $(`#L${this.lit}`)?.classList.remove("walked");
        this.lit = line;
        document.getElementById(`L${line}`)?.classList.add("walked");
    }

    showPicture(n) {
        const [pieces, words] = this.scenes[this.steps[n][5]];
        const before = new Set(n ? this.scenes[this.steps[n - 1][5]][0] : pieces);
        this.picture.innerHTML = pieces.map((p) =>
            before.has(p) ? this.pieces[p] : `<g class="new">${this.pieces[p]}</g>`).join("");
        this.picture.setAttribute("aria-label", words);
    }

    showVariables(n, changes) {
        const [, , stack, own, shown] = this.steps[n];
        this.stack.textContent = this.stacks[stack].split(" ").map((f) => f + "()")
            .join(" \u203a ");
        const row = (list, kind) => ([name, value]) =>
            `<tr class="${kind}${changes.has(list + name) ? " changed" : ""}"><th scope="row">` +
            `${escaped(name)}</th><td>${escaped(value)}</td></tr>`;
        this.table.innerHTML = "<tbody>" + own.map((i) => this.rows[i]).map(row(3, "")).join("") +
            shown.map((i) => this.rows[i]).map(row(4, "besides")).join("") + "</tbody>";
    }

    // The step in words.
    sentence(n, changes) {
        const [name, line, , own, shown, scene] = this.steps[n];
        const [title, first, lines] = this.code[name];
        const text = part("p", null, { innerHTML: lines[line - first] }).textContent.trim();
        const news = [[3, own], [4, shown]].flatMap(([list, rows]) => rows
            .map((i) => this.rows[i]).filter(([of]) => changes.has(list + of))
            .map(([of, value]) => `${of} is now ${value}`));
        const moved = this.picture && n && scene !== this.steps[n - 1][5] ?
            `The picture: ${this.scenes[scene][1]}` : "";
        return [`${title}(), line ${line}: ${text}`, ...news, moved].filter(Boolean).join(". ");
    }
}

const near = new IntersectionObserver((seen) => {
    for (const { isIntersecting, target } of seen) if (isIntersecting) {
        near.unobserve(target);
        load(target.dataset.walks, target.dataset.walks).then((walks) => {
            target.player = new Player(target, walks[target.id]);
        });
    }
}, { rootMargin: "1500px" });

for (const figure of all("figure.walk")) near.observe(figure);
