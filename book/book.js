"use strict";
// What the book can do beyond being read: search, contracts, copying, themes, and a
// table of contents that follows. Nothing is fetched: a page on a disk may not.

const rustica = {};
const $ = (selector, from = document) => from.querySelector(selector);
const all = (selector, from = document) => [...from.querySelectorAll(selector)];

function load(file, key) {                      // a script is the one thing we may load
    rustica[key + "_"] ??= new Promise((done) => {
        const script = document.createElement("script");
        script.src = file;
        script.onload = () => done(rustica[key]);
        document.head.append(script);
    });
    return rustica[key + "_"];
}

// ---- Light and dark ----

const root = document.documentElement;
$("#theme").onclick = () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark"
                                    : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch (e) { /* private window */ }
};

// ---- A line's number leads to its page, or to the nearest place above it ----

async function toLine() {
    const [, start, number] = location.hash.match(/^#([\w-]*?)L(\d+)$/) ?? [];
    if (!number || document.getElementById(location.hash.slice(1))) return;
    const file = (await load("lines.js", "lines"))[start];
    if (!file || +number < 1 || +number > file[1]) return;
    const [, page] = file[2].findLast((one) => one[0] <= number) ?? file[2][0];
    if (page !== location.pathname.split("/").pop()) {
        location.replace(page + location.hash);
        return;
    }
    let at = +number;
    while (at && !document.getElementById(`${start}L${at}`)) at--;
    if (at) location.replace(`#${start}L${at}`);
}

addEventListener("hashchange", toLine);
toLine();

// ---- Search ----

const input = $("#search input"), results = $("#results");

function escaped(text) {
    return text.replace(/[&<>"]/g, (c) => "&#" + c.charCodeAt(0) + ";");
}

async function search() {
    const question = input.value.trim();
    if (!question) { results.hidden = true; return; }
    await Promise.all([load("search.js", "sections"), load("lines.js", "lines")]);
    const { said, hits } = (await load("find.js", "find"))(question);
    if (question !== input.value.trim()) return;
    if (!hits.length) said.unshift("Nothing found.");
    results.innerHTML = said.map((text) => `<p>${escaped(text)}</p>`).join("") +
        hits.map(({ href, title, text, html = escaped(text) }) =>
            `<a href="${href}">${escaped(title)}<small>${html}</small></a>`).join("");
    results.hidden = false;
}

input.oninput = search;
input.onfocus = search;
$("#search").onsubmit = (event) => { event.preventDefault(); $("a", results)?.click(); };
results.onclick = () => { results.hidden = true; };
document.addEventListener("click", (event) => {
    if (!$("#search").contains(event.target)) results.hidden = true;
});
document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { results.hidden = true; hide(); }
    if (event.key === "/" && !/INPUT|TEXTAREA/.test(document.activeElement.tagName)) {
        event.preventDefault();
        input.focus();
    }
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key], links = all("a", results);
    if (step && !results.hidden && $("#search").contains(document.activeElement)) {
        event.preventDefault();
        const to = links.indexOf(document.activeElement) + step;
        (links[to] ?? input).focus();
    }
});

// ---- What a name means: a card, when the pointer or the focus is on a link to it ----

let card = null, waiting = 0;

function hide() { clearTimeout(waiting); card?.remove(); card = null; }

async function show(link) {
    const names = await load("names.js", "names");
    const known = names[link.hash.slice(1)];
    hide();
    if (!known) return;
    const [signature, contract, section] = known, box = link.getBoundingClientRect();
    card = document.createElement("div");
    card.id = "card";
    card.role = "tooltip";
    card.innerHTML = `<code>${escaped(signature)}</code>${escaped(contract)} <small>${
        escaped(section)}</small>`;
    document.body.append(card);
    card.style.left = Math.max(8, Math.min(box.left, innerWidth - card.offsetWidth - 16)) + "px";
    const below = box.bottom + 6 + card.offsetHeight < innerHeight;
    card.style.top = scrollY + (below ? box.bottom + 6 : box.top - card.offsetHeight - 6) + "px";
    link.setAttribute("aria-describedby", "card");
}

function named(event) {
    const link = event.target.closest?.("a[href*='L']:not(.n)");
    return link && /L\d+$/.test(link.hash) ? link : null;
}

document.addEventListener("mouseover", (event) => {
    const link = named(event);
    clearTimeout(waiting);
    if (link) waiting = setTimeout(show, 120, link);
    else if (!event.target.closest?.("#card")) hide();
});
document.addEventListener("focusin", (event) => {
    const link = named(event);
    if (link) show(link); else hide();
});

// ---- A listing is one stop of the keyboard. Enter goes to its names, Escape comes back ----

document.addEventListener("keydown", (event) => {
    const listing = event.target.closest?.(".listing"), pre = listing && $("pre", listing);
    if (!pre || event.ctrlKey || event.altKey || event.metaKey) return;
    const stops = all("code a:not(.n), .copy", listing), at = stops.indexOf(event.target);
    const seen = (stop) => stop.getBoundingClientRect().top > 60;
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const to = event.key === "Enter" && event.target === pre ? stops.find(seen)
        : event.key === "Escape" && at >= 0 ? pre : at >= 0 && step ? stops[at + step] : null;
    if (!to) return;
    event.preventDefault();
    to.focus();
});

// ---- What is wider than its window says so ----

function widths() {
    for (const box of all(".drawn, .drawing, .listing pre, .transcript pre, main > table")) {
        const wide = box.scrollWidth > box.clientWidth + 1;
        if (wide && box.className !== "drawing") box.tabIndex = 0;
        if (wide === !!box.hint) continue;
        box.hint?.remove();
        box.hint = null;
        if (!wide) continue;
        box.hint = document.createElement("p");
        box.hint.className = "hint";
        box.hint.textContent = "wider than the window: scroll sideways \u2192";
        box.before(box.hint);
    }
}

addEventListener("resize", widths);
addEventListener("load", widths);

// ---- Copying a listing: the code, and nothing but the code ----

for (const pre of all(".listing pre")) {
    const button = document.createElement("button");
    button.className = "copy";
    button.type = "button";
    button.tabIndex = -1;
    button.textContent = "Copy";
    button.onclick = async () => {
        const text = $("code", pre).textContent;
        try {
            await navigator.clipboard.writeText(text);
        } catch (e) {                           // a page on a disk may have no clipboard
            const area = document.createElement("textarea");
            area.value = text;
            document.body.append(area);
            area.select();
            document.execCommand("copy");
            area.remove();
        }
        button.textContent = "Copied";
        setTimeout(() => { button.textContent = "Copy"; }, 1500);
    };
    pre.parentNode.append(button);
}

// ---- The table of contents follows the reader; a small window starts with it closed ----

const details = $("#contents details");
if (matchMedia("(max-width: 62rem)").matches) details.open = false;

const entries = new Map(all("#contents ol ol a").map((a) => [a.hash.slice(1), a]));
const headings = all("main h2[id]");
function follow() {
    let current = null;
    for (const h of headings) if (h.getBoundingClientRect().top < innerHeight / 3) current = h;
    const link = current && entries.get(current.id);
    if (link?.classList.contains("here")) return;
    for (const a of entries.values()) {
        a.classList.remove("here");
        a.removeAttribute("aria-current");
    }
    if (link) {
        link.classList.add("here");
        link.setAttribute("aria-current", "location");
        const nav = $("#contents"), box = link.getBoundingClientRect();
        if (box.top < 60 || box.bottom > innerHeight) nav.scrollTop += box.top - innerHeight / 2;
    }
}
addEventListener("scroll", follow, { passive: true });
follow();
